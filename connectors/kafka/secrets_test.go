package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"fresnel/connectors"
	"fresnel/internal/coder"
)

// TestSecretsStayOutOfErrorsAndLogs fails in every way that is at hand, with a
// password in every setting that may hold one.
func TestSecretsStayOutOfErrorsAndLogs(t *testing.T) {
	k := broker(t)
	const secret = "s3cr3t-word"
	jaas := `org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="` + secret + `";`
	scram := `org.apache.kafka.common.security.scram.ScramLoginModule required username="u" password="` + secret + `";`
	for name, config := range map[string]map[string]string{
		"a broker without SASL":  {"bootstrap.servers": k.Addr(), "security.protocol": "SASL_PLAINTEXT", "sasl.jaas.config": jaas},
		"a broker without SCRAM": {"bootstrap.servers": k.Addr(), "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-256", "sasl.jaas.config": scram},
		"a broker without TLS":   {"bootstrap.servers": k.Addr(), "security.protocol": "SASL_SSL", "sasl.jaas.config": jaas},
		"no broker":              {"bootstrap.servers": "127.0.0.1:1", "security.protocol": "SASL_PLAINTEXT", "sasl.jaas.config": jaas},
		"unknown settings":       {"bootstrap.servers": "127.0.0.1:1", "my.password": secret, "ssl.key.password": secret, "sasl.password": secret},
		"a broken login":         {"bootstrap.servers": k.Addr(), "security.protocol": "SASL_PLAINTEXT", "sasl.jaas.config": "password=" + secret},
		"a broken mechanism":     {"bootstrap.servers": k.Addr(), "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": secret},
		"a broken protocol":      {"bootstrap.servers": k.Addr(), "security.protocol": secret},
		"a broken number":        {"bootstrap.servers": k.Addr(), "request.timeout.ms": secret},
		"a broken key": {"bootstrap.servers": k.Addr(), "security.protocol": "SSL", "ssl.keystore.certificate.chain": secret,
			"ssl.keystore.key": secret, "ssl.truststore.certificates": secret},
		"a file as certificate": {"bootstrap.servers": k.Addr(), "security.protocol": "SSL", "ssl.truststore.location": "/" + secret},
		"a broken guarantee":    {"bootstrap.servers": k.Addr(), guaranteeKey: secret},
		"a broken isolation":    {"bootstrap.servers": k.Addr(), "isolation.level": secret},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			c := New(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
			shown := fmt.Sprint(readWith(t, c, config), writeWith(t, c, config)) + log.String()
			if strings.Contains(shown, secret) {
				t.Errorf("it shows: %s", shown)
			}
			if !strings.Contains(shown, "in Secret") && !strings.Contains(shown, "without effect") {
				t.Errorf("nothing failed: %s", shown)
			}
		})
	}
	for _, urn := range []string{ReadURN, WriteURN} {
		tr := connectors.Transform{URN: urn, Payload: []byte(`{"consumer": {"sasl.password": "` + secret + `"`), Name: "Secret",
			Input: coder.NewWindowed(pairs, coder.GlobalWindow)}
		_, err := New(testLog(t)).Source(tr)
		_, other := New(testLog(t)).Sink(tr)
		if shown := fmt.Sprint(err, other); strings.Contains(shown, secret) {
			t.Errorf("it shows: %s", shown)
		}
	}
}

func readWith(t *testing.T, c *Connector, config map[string]string) error {
	payload, err := json.Marshal(readSpec{Consumer: config, Topics: []string{"t"}, Format: format{Key: byteArray, Value: byteArray}, Policy: processingTime})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Source(connectors.Transform{URN: ReadURN, Payload: payload, Name: "Secret"})
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = s.Splits(ctx)
	return err
}

func writeWith(t *testing.T, c *Connector, config map[string]string) error {
	payload, err := json.Marshal(writeSpec{Producer: config, Topic: "t", Key: byteArray, Value: byteArray})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Sink(connectors.Transform{URN: WriteURN, Payload: payload, Name: "Secret", Durable: true, Input: coder.NewWindowed(pairs, coder.GlobalWindow)})
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, _, err = s.Open(ctx, 0, 1)
	return err
}
