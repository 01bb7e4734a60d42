// Package run_test runs Fresnel as people do who write pipelines: `fresnel
// run` with a pipeline that needs packages, the Python package in a clean
// environment, and the clients of older releases of Beam.
package run_test
