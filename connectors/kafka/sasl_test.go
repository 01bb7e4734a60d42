package kafka

import (
	"fmt"
	"strings"
	"testing"

	"fresnel/connectors"
	"fresnel/integration/parts"
	"fresnel/internal/beam"
)

// login is what a client's configuration says to log in at a broker.
func login(k *parts.Kafka, mechanism, password string) map[string]string {
	module := "org.apache.kafka.common.security.plain.PlainLoginModule"
	if mechanism != "PLAIN" {
		module = "org.apache.kafka.common.security.scram.ScramLoginModule"
	}
	return map[string]string{
		"bootstrap.servers": k.SASLAddr(), "auto.offset.reset": "earliest", "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism,
		"sasl.jaas.config": fmt.Sprintf("%s required username=%q password=%q;", module, parts.KafkaUser, password),
	}
}

// TestAReadLogsIn at a broker that asks for a password, through the pool of the
// client library and through the connections that fetch.
func TestAReadLogsIn(t *testing.T) {
	k := broker(t)
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			topic := newTopic(t, k, 1)
			feed(t, k, topic, 0, "a", "b")
			s := loggedIn(t, k, topic, login(k, mechanism, parts.KafkaPassword))
			splits, err := s.Splits(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			g := newGroup(t, s.(*source), splits)
			g.read(2)
		})
		t.Run(mechanism+" with a wrong password", func(t *testing.T) {
			_, err := loggedIn(t, k, newTopic(t, k, 1), login(k, mechanism, "wrong-word")).Splits(t.Context())
			if beam.CodeOf(err) != beam.Rejected || !strings.Contains(err.Error(), "the password in sasl.jaas.config") {
				t.Errorf("the user is told: %v", err)
			}
			if strings.Contains(fmt.Sprint(err), "wrong-word") {
				t.Errorf("it shows the password: %v", err)
			}
		})
	}
}

func loggedIn(t *testing.T, k *parts.Kafka, topic string, config map[string]string) connectors.Source {
	t.Helper()
	s, err := New(testLog(t)).Source(readTransform(t, k, topic, func(spec *readSpec) { spec.Consumer = config }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
