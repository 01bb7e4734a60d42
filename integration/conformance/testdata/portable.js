// Has the tests that ask the TypeScript SDK for its default runner run on the endpoint, with workers in their own process.

const sdk = process.cwd() + "/dist/src/apache_beam";
require(sdk); // as a whole first: its modules need each other
const runner = require(sdk + "/runners/runner");
const { PortableRunner } = require(sdk + "/runners/portable_runner/runner");

const portable = (options = {}) =>
  new PortableRunner({
    environmentType: "LOOPBACK",
    ...options,
    jobEndpoint: process.env.FRESNEL_ENDPOINT,
  });

runner.createRunner = portable;
runner.defaultRunner = portable;
runner.loopbackRunner = portable;
