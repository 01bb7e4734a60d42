package parts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// Kafka is a single-node Kafka cluster: the Apache broker and KRaft controller in one JVM. Besides the listener
// that everybody may use it has one that asks for SASL's user name and password.
type Kafka struct {
	process
	addr, saslAddr string
}

// Who may log in at SASLAddr, with SASL mechanism PLAIN or SCRAM-SHA-512.
const (
	KafkaUser     = "reader"
	KafkaPassword = "pa55-of-the-broker"
)

// StartKafka runs a broker until the test ends. Settings are lines of server.properties ("key=value") that
// override its own. Topics are not created by themselves unless a setting says so.
func StartKafka(t testing.TB, settings ...string) *Kafka {
	t.Helper()
	dir, log := home(t, "kafka")
	k, err := LaunchKafka(dir, log, settings...)
	if err != nil {
		t.Fatal(err)
	}
	k.endWith(t)
	return k
}

// LaunchKafka formats a new cluster in dir and starts it. The caller ends it with Stop or Kill.
func LaunchKafka(dir, log string, settings ...string) (*Kafka, error) {
	jars, err := kafkaJars()
	if err != nil {
		return nil, err
	}
	var addrs [3]string
	for i := range addrs {
		if addrs[i], err = freeAddr(); err != nil {
			return nil, err
		}
	}
	k := &Kafka{addr: addrs[0], saslAddr: addrs[1]}
	properties := filepath.Join(dir, "server.properties")
	text := serverProperties(k.addr, k.saslAddr, addrs[2], filepath.Join(dir, "data")) + strings.Join(settings, "\n") + "\n"
	if err := os.WriteFile(properties, []byte(text), 0o644); err != nil {
		return nil, err
	}
	format := exec.Command("java", javaArgs(jars, "kafka.tools.StorageTool", "format", "-t", clusterID, "-c", properties,
		"--add-scram", "SCRAM-SHA-512=[name="+KafkaUser+",password="+KafkaPassword+"]")...)
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format Kafka's storage: %w\n%s", err, out)
	}
	k.process = process{
		name:  "Kafka",
		argv:  append([]string{"java"}, javaArgs(jars, "kafka.Kafka", properties)...),
		log:   log,
		ready: k.answers,
	}
	return k, k.start()
}

// Addr is the bootstrap server, HOST:PORT.
func (k *Kafka) Addr() string { return k.addr }

// SASLAddr is the bootstrap server for those who log in (SASL_PLAINTEXT), HOST:PORT.
func (k *Kafka) SASLAddr() string { return k.saslAddr }

// CreateTopic makes a topic and returns when it can be written to.
func (k *Kafka) CreateTopic(t testing.TB, topic string, partitions int) {
	t.Helper()
	if err := k.MakeTopic(t.Context(), topic, partitions); err != nil {
		t.Fatal(err)
	}
}

// MakeTopic is CreateTopic outside a test. A topic that exists is left as it is.
func (k *Kafka) MakeTopic(ctx context.Context, topic string, partitions int) error {
	client, end := k.client()
	defer end()
	for {
		resp, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{
			Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}},
		})
		if err == nil {
			err = resp.Errors[topic]
		}
		switch {
		case errors.Is(err, kafka.BrokerNotAvailable): // on a machine so busy that its heartbeats come late
			if err := pause(ctx); err != nil {
				return fmt.Errorf("create topic %s: %w", topic, err)
			}
		case err != nil && !errors.Is(err, kafka.TopicAlreadyExists):
			return fmt.Errorf("create topic %s: %w", topic, err)
		default:
			return awaitLeaders(ctx, client, topic)
		}
	}
}

// awaitLeaders returns when every partition of the topic has a leader in the broker's own metadata, which
// trails the answer to CreateTopics.
func awaitLeaders(ctx context.Context, client *kafka.Client, topic string) error {
	for {
		resp, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
		if err == nil && hasLeaders(resp, topic) {
			return nil
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("topic %s has no leader: %w", topic, err)
		}
	}
}

// pause waits until it is worth asking again.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pollEvery):
		return nil
	}
}

func hasLeaders(resp *kafka.MetadataResponse, topic string) bool {
	for _, tp := range resp.Topics {
		if tp.Name != topic || tp.Error != nil || len(tp.Partitions) == 0 {
			continue
		}
		for _, p := range tp.Partitions {
			if p.Error != nil || p.Leader.Port == 0 {
				return false
			}
		}
		return true
	}
	return false
}

// answers is nil once the broker has joined its own cluster and made its internal topics, which it does when it
// is first asked for a coordinator: a client that came before would wait out its own backoff.
func (k *Kafka) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	client, end := k.client()
	defer end()
	for _, kind := range []kafka.CoordinatorKeyType{kafka.CoordinatorKeyTypeConsumer, kafka.CoordinatorKeyTypeTransaction} {
		resp, err := client.FindCoordinator(ctx, &kafka.FindCoordinatorRequest{Key: "parts", KeyType: kind})
		if err != nil {
			return err
		}
		if resp.Error != nil {
			return resp.Error
		}
	}
	return nil
}

// client has a transport of its own, since a pooled connection would not notice a restart; end stops it from
// asking for metadata for ever.
func (k *Kafka) client() (client *kafka.Client, end func()) {
	transport := &kafka.Transport{MetadataTTL: 100 * time.Millisecond, IdleTimeout: time.Second}
	client = &kafka.Client{Addr: kafka.TCP(k.addr), Timeout: 10 * time.Second, Transport: transport}
	return client, transport.CloseIdleConnections
}

const clusterID = "ZnJlc25lbC1wYXJ0cy1rYQ" // 16 bytes in base64, the same for every cluster: they never meet

// serverProperties is the configuration of one node that is cheap to start: few threads, few partitions in the
// internal topics, no replication, no wait for more group members.
func serverProperties(addr, sasl, controller, data string) string {
	return `process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://` + addr + `,SASL_PLAINTEXT://` + sasl + `,CONTROLLER://` + controller + `
advertised.listeners=PLAINTEXT://` + addr + `,SASL_PLAINTEXT://` + sasl + `
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_` +
		KafkaUser + `="` + KafkaPassword + `";
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@` + controller + `
log.dirs=` + data + `
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=6000
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=2
`
}

// javaArgs tunes the JVM for a broker that lives for seconds: the first compiler tier and the serial collector
// start fastest and leave the second core to the test.
func javaArgs(jars, class string, args ...string) []string {
	return append([]string{
		"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
		"-cp", filepath.Join(jars, "*"), class,
	}, args...)
}

// kafkaJars is the directory that `make parts` fills: .cache/kafka beside the module's go.mod.
func kafkaJars() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		jars := filepath.Join(dir, ".cache", "kafka")
		if found, _ := filepath.Glob(filepath.Join(jars, "kafka_*.jar")); len(found) > 0 {
			return jars, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no Kafka in .cache/kafka here or above: run `make parts`")
		}
	}
}

// KafkaJava returns the arguments of java that come before a class or a source file which uses Kafka's own client;
// nil without Kafka's jars.
func KafkaJava() []string {
	jars, err := kafkaJars()
	if err != nil {
		return nil
	}
	args := javaArgs(jars, "")
	return args[:len(args)-1]
}
