// Package crash kills: two jobs that are to lose nothing and double nothing run
// on a real Kafka and a real MariaDB, while Fresnel, its harnesses, the broker
// and the database are killed at random moments and started again. Now and then
// Fresnel is only paused, another goes on with a copy of what it keeps, and then
// the first goes on too, and must be fenced. In the end every number is compared
// with what it must be.
//
//	FRESNEL_KILLS=50 FRESNEL_SEED=1 go test ./integration/crash -v
//
// runs the long form; without, there are a few kills.
package crash
