// Has the tests that ask the TypeScript SDK for its default or direct runner run on the endpoint, with workers in their own process.

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
require(sdk + "/runners/direct_runner").directRunner = portable;

// Tests with transforms of Python's allow 10 to 15 s for its start, which takes longer on a busy machine.
const { Runnable } = require(process.cwd() + "/node_modules/mocha");
const timeout = Runnable.prototype.timeout;
Runnable.prototype.timeout = function (...ms) {
  return timeout.call(this, ...ms.map((t) => Math.max(t, 60000)));
};
