package kafka

import (
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"fresnel/internal/beam"
)

func TestConsumerSettings(t *testing.T) {
	t.Parallel()
	c, err := parseConsumer(map[string]string{
		"bootstrap.servers": " PLAINTEXT://a:1, b:2 ", "group.id": "g", "auto.offset.reset": "EARLIEST", "isolation.level": "read_committed",
		"fetch.max.wait.ms": "100", "max.partition.fetch.bytes": "1000", "enable.auto.commit": "true", "session.timeout.ms": "1", "colour": "red",
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(c.servers, ",") != "a:1,b:2" || c.group != "g" || c.reset != "earliest" || c.isolation != kafkago.ReadCommitted ||
		c.fetchMaxWait != 100*time.Millisecond || c.fetchMaxBytes != 1000 || !c.autoCommit || strings.Join(c.ignored, "") != "colour" {
		t.Errorf("%+v", c)
	}
	d, err := parseConsumer(map[string]string{"bootstrap.servers": "a:1"})
	if err != nil || d.reset != "latest" || d.isolation != kafkago.ReadUncommitted || d.autoCommit {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]map[string]string{
		"auto.offset.reset":       {"auto.offset.reset": "secret-word"},
		"fetch.min.bytes":         {"fetch.min.bytes": "secret-word"},
		"security.protocol":       {"security.protocol": "secret-word"},
		"sasl.mechanism":          {"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI", "sasl.jaas.config": "secret-word"},
		"sasl.jaas.config":        {"security.protocol": "SASL_PLAINTEXT", "sasl.jaas.config": "secret-word"},
		"ssl.truststore.location": {"security.protocol": "SSL", "ssl.truststore.location": "/nowhere/at/all"},
		"ssl.keystore.location":   {"security.protocol": "SSL", "ssl.keystore.location": "properties_test.go"},
	} {
		config["bootstrap.servers"] = "a:1"
		_, err := parseConsumer(config)
		if beam.CodeOf(err) == beam.Internal || err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJAAS(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{
		`org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="p\"w =x;";`: {"u", `p"w =x;`},
		"x required\n username=u\n password=p;": {"u", "p"},
		`username = "u" password="p"`:           {"u", "p"},
		`username="open`:                        {"open", ""},
		`=`:                                     {"", ""},
	} {
		if got := parseJAAS(text); got["username"] != want[0] || got["password"] != want[1] {
			t.Errorf("%q: %q", text, got)
		}
	}
	c, err := parseConsumer(map[string]string{"bootstrap.servers": "a:1", "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512",
		"sasl.jaas.config": `x required username="u" password="p";`, "ssl.endpoint.identification.algorithm": ""})
	if err != nil || c.sasl == nil || c.sasl.Name() != "SCRAM-SHA-512" || c.tls == nil || c.tls.VerifyConnection == nil {
		t.Errorf("%+v, %v", c, err)
	}
}

func FuzzJAAS(f *testing.F) {
	f.Add(`a.b.C required username="u" password="p\"w";`)
	f.Fuzz(func(_ *testing.T, s string) { parseJAAS(s) })
}

func TestWatermarkPolicies(t *testing.T) {
	t.Parallel()
	now := beam.EventTime(1_000_000)
	idle := time.UnixMilli(999_000)
	for _, test := range []struct {
		policy policy
		stamps []int64
		idle   time.Time
		want   beam.EventTime
	}{
		{processingTime, []int64{5}, time.Time{}, now},
		{createTime, nil, time.Time{}, beam.MinEventTime},
		{createTime, []int64{500, 300}, time.Time{}, 500},
		{createTime, []int64{2_000_000}, time.Time{}, now},
		{createTime, []int64{500}, idle, 999_000},
		{appendTime, []int64{500, 300}, time.Time{}, 300},
		{appendTime, []int64{500}, idle, 997_000},
	} {
		w := newWatermark(test.policy)
		for _, ts := range test.stamps {
			w.stamp(&record{timestamp: ts}, now)
		}
		if got := w.promise(now, test.idle); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
		if got := w.promise(now-1000, time.Time{}); got != test.want {
			t.Errorf("%+v: it moves back to %v", test, got)
		}
	}
}
