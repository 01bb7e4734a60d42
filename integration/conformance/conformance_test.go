package conformance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// all says that nothing is left out to save time.
var all = os.Getenv("FRESNEL_CONFORMANCE") == "all"

// withoutFreeze keeps the client from running pip for each pipeline, which takes
// it longer than most of the jobs.
const withoutFreeze = " --experiments=disable_logging_submission_environment"

func TestPrismRunnerSuite(t *testing.T) {
	suite{
		root:    sitePackages(t),
		tests:   []string{"--pyargs", "apache_beam.runners.portability.prism_runner_test"},
		options: "--environment_type=LOOPBACK --prism_bin=" + prismBinary(t),
	}.run(t)
}

func TestPortableRunnerSuite(t *testing.T) {
	bin := buildFresnel(t)
	env := []string{"FRESNEL_ENDPOINT=" + serve(t, bin), "FRESNEL_WORKER_POOL=" + servePool(t, bin)}
	for _, class := range []struct {
		name string
		slow bool
	}{
		{name: "PortableRunnerTest"},
		{name: "PortableRunnerOptimizedWithoutFusion"},
		{name: "PortableRunnerTestWithExternalEnv"},
		{name: "PortableRunnerTestWithSubprocesses"},
		{name: "PortableRunnerTestWithSubprocessesAndMultiWorkers"},
		{name: "PortableRunnerTestWithLoopback"},
		{name: "PortableRunnerTestStreaming"},                  // as FlinkRunnerTestStreaming has it
		{name: "PortableRunnerTestOptimized"},                  // as FlinkRunnerTestOptimized has it
		{name: "PortableRunnerTestWithDocker", slow: true},     // no class of Beam's; the same processes where there is no Docker
		{name: "PortableRunnerTestWithWorkerPool", slow: true}, // no class of Beam's; new processes for every pipeline
	} {
		t.Run(class.name, func(t *testing.T) {
			if class.slow {
				onlyIfAll(t)
			}
			suite{root: testdata(t), tests: []string{"portable_runner_test.py::" + class.name}, env: env}.run(t)
		})
	}
}

// pipelineModules are Beam's modules with tests of TestPipeline.
var pipelineModules = []string{
	"transforms.ptransform_test", "transforms.sideinputs_test", "transforms.combiners_test", "transforms.create_test",
	"transforms.core_test", "transforms.external_test", "pipeline_test", "io.textio_test",
	"transforms.window_test", "transforms.userstate_test", "transforms.trigger_test", "transforms.util_test",
	"transforms.combinefn_lifecycle_test", "transforms.dofn_lifecycle_test", "transforms.deduplicate_test",
	"testing.test_stream_test",
}

// moreModules are those that ask for little that the others do not.
var moreModules = []string{
	"transforms.batch_dofn_test", "transforms.error_handling_test", "transforms.periodicsequence_test", "transforms.stats_test",
	"transforms.write_ptransform_test", "transforms.transforms_keyword_only_args_test", "transforms.managed_test",
	"io.parquetio_test", "io.concat_source_test", "io.filebasedsource_test", "io.filebasedsink_test", "io.iobase_test",
	"runners.direct.sdf_direct_runner_test", "typehints.typed_pipeline_test", "typehints.row_type_test",
	"transforms.resources_test", "transforms.enrichment_test", "io.watch_test", "io.unbounded_source_test", "io.requestresponse_test",
	"io.sources_test", "testing.util_test", "testing.synthetic_pipeline_test", "typehints.typecheck_test", "coders.coders_test",
	"coders.row_coder_test",
}

func TestPipelineSuites(t *testing.T) {
	endpoint := serve(t, buildFresnel(t))
	for i, module := range slices.Concat(pipelineModules, moreModules) {
		t.Run(module, func(t *testing.T) {
			if i >= len(pipelineModules) {
				onlyIfAll(t)
			}
			suite{
				root:    sitePackages(t),
				tests:   []string{"--pyargs", "apache_beam." + module},
				options: "--runner=PortableRunner --environment_type=LOOPBACK --job_endpoint=" + endpoint + withoutFreeze,
			}.run(t)
		})
	}
}

// moreSuites are suites of examples and of parts of Beam with pipelines that name no
// runner, which all run here. None of them comes alone, as most are over in a moment.
var moreSuites = []struct {
	name    string
	modules []string
}{
	{"examples", []string{"examples"}},
	{"dataframe", []string{"dataframe.convert_test", "dataframe.io_test", "dataframe.schemas_test", "dataframe.transforms_test"}},
	{"yaml", []string{
		"yaml.programming_guide_test", "yaml.readme_test", "yaml.yaml_combine_test", "yaml.yaml_enrichment_test", "yaml.yaml_io_test",
		"yaml.yaml_mapping_test", "yaml.yaml_provider_unit_test", "yaml.yaml_specifiable_test", "yaml.yaml_testing_test",
		"yaml.yaml_transform_scope_test", "yaml.yaml_transform_test", "yaml.yaml_udf_test",
	}},
	{"ml", []string{
		"ml.inference.base_test", "ml.inference.sklearn_inference_test", "ml.anomaly.transforms_test",
		"ml.rag.chunking.base_test", "ml.rag.ingestion.base_test", "ml.transforms.base_test", "ml.transforms.handlers_test",
	}},
	{"io", []string{"io.avroio_test", "io.fileio_test", "io.mongodbio_test"}},
	{"rest", []string{
		"metrics.metric_test", "options.pipeline_options_context_test", "programming_guide_test", "pvalue_test", "runners.common_test",
		"runners.pipeline_utils_test", "transforms.fully_qualified_named_transform_test", "transforms.timestamped_value_type_test",
		"typehints.tagged_output_typehints_test", "utils.python_callable_test",
	}},
}

func TestMoreSuites(t *testing.T) {
	onlyIfAll(t)
	endpoint := serve(t, buildFresnel(t))
	for _, more := range moreSuites {
		t.Run(more.name, func(t *testing.T) {
			tests := []string{"--ignore-glob=*_it_test.py", "--ignore-glob=*_test_it.py", "--pyargs"}
			for _, module := range more.modules {
				tests = append(tests, "apache_beam."+module)
			}
			suite{
				root:  sitePackages(t),
				tests: tests,
				options: "--runner=PortableRunner --environment_type=LOOPBACK --job_endpoint=" + endpoint + withoutFreeze +
					" --temp_location=" + t.TempDir(),
				everywhere: true,
			}.run(t)
		})
	}
}

// TestCrossLanguageSuite has transforms expanded by a service of Beam's, in a second
// environment.
func TestCrossLanguageSuite(t *testing.T) {
	endpoint := serve(t, buildFresnel(t))
	suite{
		root:    sitePackages(t),
		tests:   []string{"--pyargs", "apache_beam.transforms.validate_runner_xlang_test"},
		options: "--runner=PortableRunner --environment_type=LOOPBACK --job_endpoint=" + endpoint + withoutFreeze,
		env:     []string{"EXPANSION_PORT=" + serveExpansion(t, "expansion_service_test")},
	}.run(t)
}

// onlyIfAll skips what takes long and is much like what is not skipped.
func onlyIfAll(t *testing.T) {
	t.Helper()
	if !all {
		t.Skip("only with FRESNEL_CONFORMANCE=all")
	}
}

// testdata is our own directory of tests.
func testdata(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// sitePackages is where Beam is installed.
func sitePackages(t *testing.T) string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(python(t))), "lib", "python3*", "site-packages"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("Beam is in none or several of %s: %v", strings.Join(dirs, ", "), err)
	}
	dir, err := filepath.EvalSymlinks(dirs[0]) // pytest's ids count from where the files are
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
