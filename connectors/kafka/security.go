package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"fresnel/internal/beam"
)

// connection is how to reach a cluster.
type connection struct {
	servers  []string
	clientID string
	timeout  time.Duration // for one request, beyond a long poll
	tls      *tls.Config
	sasl     sasl.Mechanism
}

func parseConnection(p *properties) connection {
	c := connection{clientID: p.text("client.id", "fresnel"), timeout: p.millis("request.timeout.ms", 30_000)}
	for server := range strings.SplitSeq(p.text("bootstrap.servers", ""), ",") {
		if server = bareAddress(server); server != "" {
			c.servers = append(c.servers, server)
		}
	}
	if len(c.servers) == 0 {
		p.fail(beam.InvalidPipeline, "bootstrap.servers", "the setting is missing", "set it to the broker's host:port")
	}
	protocol := p.choice("security.protocol", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
	if strings.HasSuffix(protocol, "SSL") {
		c.tls = parseTLS(p)
	}
	if strings.HasPrefix(protocol, "SASL") {
		c.sasl = parseSASL(p)
	}
	// These have no meaning under another protocol, and Java ignores them too.
	for _, key := range []string{"sasl.mechanism", "sasl.jaas.config", "ssl.truststore.location", "ssl.truststore.password",
		"ssl.truststore.type", "ssl.keystore.location", "ssl.keystore.password", "ssl.keystore.type", "ssl.key.password",
		"ssl.endpoint.identification.algorithm", "ssl.protocol", "ssl.enabled.protocols"} {
		p.asked[key] = true
	}
	return c
}

// bareAddress takes the spaces and the PLAINTEXT:// that people leave around an
// address away.
func bareAddress(s string) string {
	s = strings.TrimSpace(s)
	if _, rest, ok := strings.Cut(s, "://"); ok {
		return rest
	}
	return s
}

func parseSASL(p *properties) sasl.Mechanism {
	mechanism := p.choice("sasl.mechanism", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
	user, password := p.text("sasl.username", ""), p.text("sasl.password", "")
	if jaas := p.text("sasl.jaas.config", ""); jaas != "" {
		options := parseJAAS(jaas)
		user, password = options["username"], options["password"]
	}
	if user == "" {
		p.fail(beam.InvalidPipeline, "sasl.jaas.config", "no user name was found",
			`write: org.apache.kafka.common.security.plain.PlainLoginModule required username="..." password="...";`)
		return nil
	}
	algorithm := scram.SHA256
	switch mechanism {
	case "PLAIN":
		return plain.Mechanism{Username: user, Password: password}
	case "SCRAM-SHA-512":
		algorithm = scram.SHA512
	}
	m, err := scram.Mechanism(algorithm, user, password)
	if err != nil {
		p.fail(beam.InvalidPipeline, "sasl.jaas.config", "the user name or password cannot be used with SCRAM", "")
		return nil
	}
	return m
}

// parseJAAS returns the key="value" options of a JAAS login configuration.
func parseJAAS(s string) map[string]string {
	options := map[string]string{}
	for {
		key, rest, ok := strings.Cut(s, "=")
		if !ok {
			return options
		}
		key = strings.TrimSpace(key)
		if i := strings.LastIndexAny(key, " \t\r\n"); i >= 0 {
			key = key[i+1:]
		}
		options[key], s = jaasValue(rest)
	}
}

// jaasValue reads one value, quoted or up to a space or semicolon.
func jaasValue(s string) (value, rest string) {
	s = strings.TrimLeft(s, " \t")
	if !strings.HasPrefix(s, `"`) {
		i := strings.IndexAny(s, " \t\r\n;")
		if i < 0 {
			return s, ""
		}
		return s[:i], s[i:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			return b.String(), s[i+1:]
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}

const pemCure = "give PEM files: ssl.truststore.type=PEM with the certificates in ssl.truststore.location or " +
	"ssl.truststore.certificates (keytool -exportcert -rfc, or openssl pkcs12, writes them)"

func parseTLS(p *properties) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	trusted := pemOf(p, "ssl.truststore.location", "ssl.truststore.certificates", "ssl.ca.location")
	if len(trusted) > 0 {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(trusted) {
			p.fail(beam.InvalidPipeline, "ssl.truststore.location", "no certificate was found in it", pemCure)
		}
	}
	if cert := parseKeyPair(p); cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	_, set := p.values["ssl.endpoint.identification.algorithm"]
	if set && p.text("ssl.endpoint.identification.algorithm", "") == "" {
		skipHostname(c)
	}
	return c
}

// skipHostname checks the chain but not the host's name, as Java does where
// ssl.endpoint.identification.algorithm is empty.
func skipHostname(c *tls.Config) {
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return x509.CertificateInvalidError{Detail: "the broker sent no certificate"}
		}
		options := x509.VerifyOptions{Roots: c.RootCAs, Intermediates: x509.NewCertPool()}
		for _, cert := range s.PeerCertificates[1:] {
			options.Intermediates.AddCert(cert)
		}
		_, err := s.PeerCertificates[0].Verify(options)
		return err
	}
}

func parseKeyPair(p *properties) *tls.Certificate {
	chain := pemOf(p, "ssl.keystore.location", "ssl.keystore.certificate.chain", "ssl.certificate.location")
	key := pemOf(p, "ssl.key.location", "ssl.keystore.key", "")
	if len(chain) == 0 {
		return nil
	}
	if len(key) == 0 {
		key = chain // one file holds both
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		p.fail(beam.InvalidPipeline, "ssl.keystore.location", "the certificate and its key cannot be used",
			"give them in PEM, the key in PKCS#8 and not encrypted")
		return nil
	}
	return &cert
}

// pemOf returns the PEM text that the inline setting holds, or the file that
// one of the others names.
func pemOf(p *properties, file, inline, file2 string) []byte {
	if text := p.text(inline, ""); text != "" {
		return []byte(text)
	}
	key, path := file, p.text(file, "")
	if path == "" && file2 != "" {
		key, path = file2, p.text(file2, "")
	}
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		p.fail(beam.InvalidPipeline, key, "the file cannot be read", "it must be readable where Fresnel runs")
		return nil
	}
	if block, _ := pem.Decode(data); block == nil {
		p.fail(beam.Unsupported, key, "the file is not PEM", pemCure)
		return nil
	}
	return data
}

// transport opens connections as the settings say. Metadata is asked for the
// given topics only, or for all.
func (c *connection) transport(topics []string) *kafkago.Transport {
	return &kafkago.Transport{
		ClientID:       c.clientID,
		TLS:            c.tls,
		SASL:           c.sasl,
		DialTimeout:    min(c.timeout, 10*time.Second),
		IdleTimeout:    time.Minute,
		MetadataTTL:    5 * time.Second,
		MetadataTopics: topics,
	}
}
