// Package conformance runs Beam's own Python, Go, TypeScript and Java test suites
// on Fresnel, as they are and by name:
//
//	prism_runner_test       starts fresnel itself, as its --prism_bin; workers are the client's (LOOPBACK)
//	portable_runner_test    its classes with our endpoint (testdata/portable_runner_test.py), a class for each way to run workers,
//	                        for jobs that are all streaming, and for a client that fuses stages by itself
//	transforms.*_test, ...  the tests of TestPipeline, with --runner=PortableRunner
//	examples, yaml, ...     pipelines of Beam's examples and of further parts, also those that name no runner (testdata/default_endpoint.py);
//	                        only with FRESNEL_CONFORMANCE=all
//	validate_runner_xlang   the cross-language tests, against the expansion service of Beam's own tests
//
// and of the Go SDK (the module in gosdk builds them: make gosuites)
//
//	primitives, regression, synthetic, wordcount    with --runner=universal, for which they filter no test
//
// and of the TypeScript SDK (make tssuites builds it, with Node.js)
//
//	primitives_test, combine_test, wordcount, programming_guide, io_test    workers are the client's, and Python's for what it expands
//
// and of the Java SDK (make javasuites, with a JDK)
//
//	ValidatesRunner    all tests of that category, with a runner of ours (javasdk/EndpointRunner.java), as Maven Central has no release of Beam's
//	NeedsRunner        the other tests of the SDK's core that run pipelines
//
// Each prints pytest's closing line ("84 passed, 15 skipped in 61.20s"; go test
// -v shows it), and fails for every test that fails and is not in
// testdata/excluded.txt with the reason, or that is and passes. All counts are
// printed together at the end.
//
// Without .venv (make venv) the suites are skipped, and without .cache/gosdk,
// .cache/typescript or .cache/javasdk those of the Go, TypeScript or Java SDK. FRESNEL_CONFORMANCE=all also runs two classes of our own, the
// tests of portable_runner_test on workers of other kinds, more modules of TestPipeline, and
// of Java NeedsRunner and the tests of state and timers with state on disk.
package conformance
