// Package cdn tests the main job (examples/cdn) as users run it: an unchanged
// Beam Python program, the fresnel binary, a real Kafka and a real MariaDB. The
// source is unbounded everywhere: the table is right while the job runs, and
// drain or cancel ends it.
package cdn
