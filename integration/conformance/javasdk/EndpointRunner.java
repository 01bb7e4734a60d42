import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.beam.fn.harness.ExternalWorkerService;
import org.apache.beam.model.jobmanagement.v1.ArtifactStagingServiceGrpc;
import org.apache.beam.model.jobmanagement.v1.JobApi;
import org.apache.beam.model.jobmanagement.v1.JobApi.JobMessage.MessageImportance;
import org.apache.beam.model.jobmanagement.v1.JobServiceGrpc;
import org.apache.beam.model.jobmanagement.v1.JobServiceGrpc.JobServiceBlockingStub;
import org.apache.beam.model.pipeline.v1.MetricsApi.MonitoringInfo;
import org.apache.beam.model.pipeline.v1.RunnerApi;
import org.apache.beam.runners.core.metrics.DefaultMetricResults;
import org.apache.beam.runners.core.metrics.MetricsContainerStepMap;
import org.apache.beam.runners.fnexecution.artifact.ArtifactRetrievalService;
import org.apache.beam.runners.fnexecution.artifact.ArtifactStagingService;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.PipelineResult;
import org.apache.beam.sdk.PipelineRunner;
import org.apache.beam.sdk.fn.server.GrpcFnServer;
import org.apache.beam.sdk.metrics.MetricKey;
import org.apache.beam.sdk.metrics.MetricName;
import org.apache.beam.sdk.metrics.MetricQueryResults;
import org.apache.beam.sdk.metrics.MetricResult;
import org.apache.beam.sdk.metrics.MetricResults;
import org.apache.beam.sdk.options.ApplicationNameOptions;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.options.PortablePipelineOptions;
import org.apache.beam.sdk.util.construction.DefaultArtifactResolver;
import org.apache.beam.sdk.util.construction.PipelineOptionsTranslation;
import org.apache.beam.sdk.util.construction.PipelineTranslation;
import org.apache.beam.sdk.util.construction.SdkComponents;
import org.apache.beam.sdk.util.construction.resources.PipelineResources;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.ManagedChannel;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.ManagedChannelBuilder;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.StatusRuntimeException;
import org.joda.time.Duration;

/**
 * Runs a pipeline on a job endpoint to its end, with workers that are threads of this process, or of
 * the environment that the options name, for which the class path is staged. It stands for Beam's
 * PortableRunner, of which Maven Central has no release.
 */
public class EndpointRunner extends PipelineRunner<PipelineResult> {
  private static final long LIMIT_SECONDS = 180;

  private static List<String> classPath; // as files, the same for all pipelines

  private final PipelineOptions options;

  private EndpointRunner(PipelineOptions options) {
    this.options = options;
  }

  public static EndpointRunner fromOptions(PipelineOptions options) {
    return new EndpointRunner(options);
  }

  @Override
  public PipelineResult run(Pipeline pipeline) {
    PortablePipelineOptions portable = options.as(PortablePipelineOptions.class);
    ManagedChannel channel = connect(portable.getJobEndpoint());
    try {
      JobServiceBlockingStub jobs = JobServiceGrpc.newBlockingStub(channel);
      return portable.getDefaultEnvironmentType() == null
          ? runInThreads(pipeline, portable, jobs)
          : runElsewhere(pipeline, portable, jobs);
    } catch (RuntimeException e) {
      throw e;
    } catch (Exception e) {
      throw new RuntimeException(e);
    } finally {
      channel.shutdownNow();
    }
  }

  private static ManagedChannel connect(String endpoint) {
    return ManagedChannelBuilder.forTarget(endpoint)
        .usePlaintext()
        .maxInboundMessageSize(Integer.MAX_VALUE)
        .build();
  }

  private PipelineResult runInThreads(
      Pipeline pipeline, PortablePipelineOptions portable, JobServiceBlockingStub jobs)
      throws Exception {
    try (GrpcFnServer<ExternalWorkerService> workers = new ExternalWorkerService(options).start()) {
      portable.setDefaultEnvironmentType("EXTERNAL");
      portable.setDefaultEnvironmentConfig(workers.getApiServiceDescriptor().getUrl());
      return submit(pipeline, jobs);
    }
  }

  private PipelineResult runElsewhere(
      Pipeline pipeline, PortablePipelineOptions portable, JobServiceBlockingStub jobs)
      throws Exception {
    portable.setFilesToStage(classPath(options));
    return submit(pipeline, jobs);
  }

  private static synchronized List<String> classPath(PipelineOptions options) {
    if (classPath == null) {
      ClassLoader loader = EndpointRunner.class.getClassLoader();
      classPath =
          PipelineResources.prepareFilesForStaging(
              PipelineResources.detectClassPathResourcesToStage(loader, options),
              options.getTempLocation());
    }
    return classPath;
  }

  private PipelineResult submit(Pipeline pipeline, JobServiceBlockingStub jobs) throws Exception {
    String name = options.as(ApplicationNameOptions.class).getAppName();
    boolean staged = options.as(PortablePipelineOptions.class).getFilesToStage() != null;
    RunnerApi.Pipeline proto = PipelineTranslation.toProto(pipeline, SdkComponents.create(options));
    if (staged) {
      proto = DefaultArtifactResolver.INSTANCE.resolveArtifacts(proto);
    }
    JobApi.PrepareJobResponse prepared =
        jobs.prepare(
            JobApi.PrepareJobRequest.newBuilder()
                .setJobName(name == null ? "java" : name)
                .setPipeline(proto)
                .setPipelineOptions(PipelineOptionsTranslation.toProto(options))
                .build());
    if (staged) {
      stage(prepared);
    }
    JobApi.RunJobRequest run =
        JobApi.RunJobRequest.newBuilder().setPreparationId(prepared.getPreparationId()).build();
    String id = jobs.run(run).getJobId();
    try {
      return await(jobs, id);
    } catch (StatusRuntimeException e) { // the test's time is over
      Thread.interrupted(); // JUnit says so by an interrupt, with which no call goes out
      jobs.cancel(JobApi.CancelJobRequest.newBuilder().setJobId(id).build());
      throw e;
    }
  }

  private static void stage(JobApi.PrepareJobResponse prepared) throws Exception {
    ManagedChannel channel = connect(prepared.getArtifactStagingEndpoint().getUrl());
    try (ArtifactRetrievalService files = new ArtifactRetrievalService()) {
      ArtifactStagingService.offer(
          files, ArtifactStagingServiceGrpc.newStub(channel), prepared.getStagingSessionToken());
    } finally {
      channel.shutdownNow();
    }
  }

  private static PipelineResult await(JobServiceBlockingStub jobs, String id) {
    String error = "there is no message";
    JobApi.JobState.Enum state = JobApi.JobState.Enum.UNSPECIFIED;
    Iterator<JobApi.JobMessagesResponse> messages =
        jobs.withDeadlineAfter(LIMIT_SECONDS, TimeUnit.SECONDS)
            .getMessageStream(JobApi.JobMessagesRequest.newBuilder().setJobId(id).build());
    while (messages.hasNext()) {
      JobApi.JobMessagesResponse m = messages.next();
      if (m.hasStateResponse()) {
        state = m.getStateResponse().getState();
      } else if (m.getMessageResponse().getImportance() == MessageImportance.JOB_MESSAGE_ERROR) {
        error = m.getMessageResponse().getMessageText();
      }
    }
    if (state != JobApi.JobState.Enum.DONE) {
      throw new Pipeline.PipelineExecutionException(
          new RuntimeException("the job ended as " + state + ": " + error));
    }
    JobApi.GetJobMetricsRequest ask = JobApi.GetJobMetricsRequest.newBuilder().setJobId(id).build();
    return new Done(jobs.getJobMetrics(ask).getMetrics());
  }

  /** A job that has ended well. */
  private static class Done implements PipelineResult {
    private final MetricResults metrics;

    Done(JobApi.MetricResults all) {
      MetricQueryResults found =
          MetricsContainerStepMap.asMetricResults(
                  users(all.getAttemptedList()), users(all.getCommittedList()))
              .allMetrics();
      metrics =
          new DefaultMetricResults(
              named(found.getCounters()),
              named(found.getDistributions()),
              named(found.getGauges()),
              named(found.getStringSets()),
              named(found.getBoundedTries()),
              named(found.getHistograms()));
    }

    /** The user's metrics, under the names of steps that the job tells. */
    private static MetricsContainerStepMap users(List<MonitoringInfo> infos) {
      MetricsContainerStepMap steps = new MetricsContainerStepMap();
      for (MonitoringInfo info : infos) {
        if (info.getUrn().startsWith("beam:metric:user:")) {
          String step = info.getLabelsOrDefault("PTRANSFORM", "");
          steps.getContainer(step).update(Collections.singletonList(info));
        }
      }
      return steps;
    }

    /** The results under names as users write them. */
    private static <T> List<MetricResult<T>> named(Iterable<MetricResult<T>> results) {
      List<MetricResult<T>> all = new ArrayList<>();
      for (MetricResult<T> r : results) {
        MetricName name =
            MetricName.named(r.getName().getNamespace(), r.getName().getName());
        all.add(
            MetricResult.create(
                MetricKey.create(r.getKey().stepName(), name),
                r.getCommittedOrNull(),
                r.getAttempted()));
      }
      return all;
    }

    @Override
    public State getState() {
      return State.DONE;
    }

    @Override
    public State cancel() {
      return State.DONE;
    }

    @Override
    public State waitUntilFinish(Duration duration) {
      return State.DONE;
    }

    @Override
    public State waitUntilFinish() {
      return State.DONE;
    }

    @Override
    public MetricResults metrics() {
      return metrics;
    }
  }
}
