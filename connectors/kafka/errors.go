package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"fresnel/internal/beam"
)

var (
	errOldFormat = errors.New("records in the format of before Kafka 0.11")
	errChecksum  = errors.New("the checksum of a record batch is wrong")
)

// refused are the broker's answers that waiting does not change.
var refused = []kafkago.Error{
	kafkago.TopicAuthorizationFailed, kafkago.GroupAuthorizationFailed, kafkago.ClusterAuthorizationFailed,
	kafkago.TransactionalIDAuthorizationFailed, kafkago.SASLAuthenticationFailed, kafkago.UnsupportedSASLMechanism,
	kafkago.IllegalSASLState, kafkago.InvalidTopic, kafkago.InvalidGroupId, kafkago.MessageSizeTooLarge,
	kafkago.RecordListTooLarge, kafkago.InvalidRequiredAcks, kafkago.UnsupportedVersion, kafkago.PolicyViolation,
	kafkago.SecurityDisabled, kafkago.InvalidRequest, kafkago.UnsupportedCompressionType, kafkago.InvalidRecord,
	kafkago.InvalidTimestamp, kafkago.UnsupportedForMessageFormat, kafkago.InvalidTransactionTimeout,
}

// explain makes a coded error of what a request ended with: what cannot be
// reached is tried again, what was refused is not. doing completes "cannot".
func explain(err error, where, doing string, servers []string) error {
	var coded *beam.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &coded), errors.Is(err, context.Canceled):
		return err
	}
	e := &beam.Error{Code: beam.Unavailable, Where: where, Cause: err,
		What: fmt.Sprintf("cannot %s at Kafka %s", doing, strings.Join(servers, ","))}
	e.Cure = "Fresnel tries again; check that the broker runs, that its advertised.listeners can be reached from here " +
		"and that bootstrap.servers is right"
	var code kafkago.Error
	var cert *tls.CertificateVerificationError
	switch {
	case strings.Contains(err.Error(), "expecting TLS"):
		e.Code, e.Cure = beam.Rejected, "set security.protocol to SSL or SASL_SSL"
	case errors.As(err, &cert):
		e.Code, e.Cure = beam.Rejected, "give the broker's certificate authority in ssl.truststore.location (PEM)"
	case leaderless(err):
		e.What += ": the partition has no leader"
		e.Cure = "Fresnel goes on when it has one again; check which of the brokers that hold its replicas are down"
	case errors.As(err, &code):
		e.Cure = "Fresnel tries again"
		if slices.Contains(refused, code) {
			e.Code, e.Cure = beam.Rejected, cureOf(code)
		}
	}
	return e
}

// leaderless tells whether a request failed because a partition has no leader, or
// another one by now.
func leaderless(err error) bool {
	return errors.Is(err, protocol.ErrNoLeader) || errors.Is(err, kafkago.LeaderNotAvailable) || errors.Is(err, kafkago.NotLeaderForPartition)
}

func cureOf(code kafkago.Error) string {
	switch code {
	case kafkago.TopicAuthorizationFailed, kafkago.GroupAuthorizationFailed, kafkago.ClusterAuthorizationFailed:
		return "give the user the right to it on the broker"
	case kafkago.SASLAuthenticationFailed:
		return "check the user name and the password in sasl.jaas.config, and sasl.mechanism"
	case kafkago.UnsupportedSASLMechanism, kafkago.IllegalSASLState:
		return "set sasl.mechanism to one that the broker has enabled"
	case kafkago.MessageSizeTooLarge, kafkago.RecordListTooLarge:
		return "raise max.message.bytes of the topic, or write smaller records"
	case kafkago.InvalidTransactionTimeout:
		return "set transaction.timeout.ms to at most the broker's transaction.max.timeout.ms"
	}
	return ""
}
