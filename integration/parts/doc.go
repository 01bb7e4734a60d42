// Package parts runs the real servers that the integration tests need: a Kafka broker and a MariaDB server.
//
// Each part is a child process with a data directory and a port of its own, on the loopback interface, so that
// tests of different packages run side by side. A part can be stopped, killed, paused and started again on the
// same data and the same port, which is what crash tests are made of:
//
//	kafka := parts.StartKafka(t)
//	kafka.CreateTopic(t, "access_log", 2)
//	db := parts.StartMariaDB(t)
//	...
//	kafka.Kill()                       // SIGKILL, and gone when it returns
//	if err := kafka.Restart(); err != nil { ... }
//
// A part ends with the test that started it, whatever the test's end, and with the test process should that be
// killed itself. Its log is an artifact of the test (go test -artifacts keeps it) and its last lines are shown
// if the test fails. `go run ./integration/parts/up` runs both for trials by hand.
//
// The servers are not downloaded here: `make parts` fetches what is missing.
package parts
