// Package fnapi is everything that a Beam SDK harness sees of Fresnel: the Fn
// API's Control, Data, State, Logging and Provision services on one port, and
// the pools that start harnesses for an environment and replace those that
// are lost. The runner sees pools, workers and bundles (contract.go); no plan,
// window or key is known here, and payloads pass through unread.
//
// # Streams
//
// A worker is one harness. Each arrow is a gRPC stream of its own, with the
// goroutines that serve it:
//
//	           Start, Split, Progress, Finalize                     SDK harness
//	runner ──▶ worker.control (outbox) ──writeControl──▶ Control ──▶ instructions
//	           running, calls          ◀──readControl─── Control ◀── responses
//
//	           dataStream.feeds        ──writeData────▶ Data ──────▶ elements, timers
//	Output ◀── running.take            ◀──readData───── Data ◀────── elements, timers
//
//	State ◀─── running.serveState      ◀──read───────── State ◀───── get, append, clear
//	  └─────▶  stateStream.answer      ───────────────▶ State ─────▶ answers
//
//	Log ◀───── eventQueue.run          ◀──────────────── Logging ◀── entries
//	Status ◀── statusCalls.read        ◀──────────────── WorkerStatus ◀── stacks
//
// Every stream has one goroutine that reads and one that writes (answers to
// state requests are sent by those who answer them); they end with the stream,
// and all streams but Logging and WorkerStatus end with the worker. A bundle with state requests
// has one goroutine that answers them, while there are any. A pool has one goroutine for each place (pool.keep: start a worker, wait for
// its end, start the next) and one that calls its owner (eventQueue.run). A worker that is expected (Expect) has one that
// starts it and one that lets it go if no pool takes it. No
// lock is held while the runner is called.
//
// # A bundle's end
//
// The response, the outputs and the answers to splits arrive on different
// streams in any order. A bundle is over when the response is there, every
// output has had its is_last, and no split is unanswered; or when it failed:
// the harness says so, its worker is lost, Output returned an error, it was
// abandoned, or something is missing for too long after the response. Done is
// closed then, after the last callback has returned. What a harness sends for
// a bundle that is over is dropped.
//
// # Data
//
// Runs of elements go out by reference in frames of about 1 MB, a frame of
// each bundle in turn; incoming payloads alias the message that they came in
// (codec.go). Python queues five frames for each bundle, then stops reading
// the stream: a harness that can have several data streams gets one for each
// bundle in flight, up to eight.
package fnapi
