package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"fresnel/internal/beam"
)

// target is the database of a JDBC URL.
type target struct {
	config *driver.Config
	// zone is how times are written and read: a zone, or nil for that of the
	// server's session.
	zone *time.Location
	// tinyBool: TINYINT(1) columns are read as booleans (tinyInt1isBit).
	tinyBool bool
	// zeroIsNull: zero dates are read as NULL (zeroDateTimeBehavior).
	zeroIsNull bool
	// atLeastOnce: a sink keeps no progress, though its outbox is durable.
	atLeastOnce bool
	// ignored are properties without effect that the user is told of.
	ignored []string
}

// guaranteeKey is a property of our own, in jdbc_url or connection_properties.
// Exactly once costs an entry three statements and a row; at least once, the
// last entries may be written twice after a crash.
const (
	guaranteeKey = "fresnelDeliveryGuarantee"
	exactlyOnce  = "exactly-once"
	atLeastOnce  = "at-least-once"
)

// name is the target for people: without the user, the password and the
// properties.
func (t *target) name() string { return t.config.Addr + "/" + t.config.DBName }

func badURL(what, cure string) error {
	return &beam.Error{Code: beam.InvalidPipeline, Where: "jdbc_url", What: what, Cure: cure}
}

const urlCure = "write it as jdbc:mysql://host:3306/database or jdbc:mariadb://host:3306/database"

// parseURL reads a JDBC URL of MySQL or MariaDB; properties ("k=v;k=v") and
// credentials given beside it come first. No error quotes the URL, which may
// hold a password.
func parseURL(jdbcURL, user, password, properties string) (*target, error) {
	rest, mariadb, err := cutScheme(jdbcURL)
	if err != nil {
		return nil, err
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	p := newURLProperties(mariadb)
	p.addQuery(query)
	p.addList(properties)
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		p.addUserInfo(authority[:at])
		authority = authority[at+1:]
	}
	if user != "" {
		p.set("user", user)
		p.set("password", password)
	}
	addresses, err := parseHosts(authority)
	if err != nil {
		return nil, err
	}
	t := &target{config: driver.NewConfig(), tinyBool: true}
	t.config.Net, t.config.Addr = "tcp", addresses[0]
	t.config.MaxAllowedPacket = 0 // the server's
	t.config.Logger = &driver.NopLogger{}
	if len(addresses) > 1 {
		t.config.DialFunc = dialFirst(addresses)
	}
	if t.config.DBName, err = url.PathUnescape(database); err != nil {
		return nil, badURL("the name of the database is not encoded properly", urlCure)
	}
	p.apply(t)
	return t, p.err
}

// cutScheme takes jdbc:mysql:// or jdbc:mariadb:// off.
func cutScheme(s string) (rest string, mariadb bool, err error) {
	scheme, rest, found := strings.Cut(strings.TrimSpace(s), "://")
	switch strings.ToLower(scheme) {
	case "jdbc:mysql":
	case "jdbc:mariadb":
		mariadb = true
	case "jdbc:mysql:loadbalance", "jdbc:mysql:replication", "jdbc:mariadb:loadbalance", "jdbc:mariadb:replication",
		"jdbc:mariadb:sequential", "jdbc:mariadb:aurora", "mysqlx", "jdbc:mysql+srv":
		return "", false, badURL("Fresnel connects to one server, not by "+scheme, urlCure)
	default:
		return "", false, &beam.Error{Code: beam.Unsupported, Where: "jdbc_url", What: "Fresnel's JDBC reads and writes MySQL and MariaDB only",
			Cure: urlCure}
	}
	if !found {
		return "", false, badURL("it has no host", urlCure)
	}
	return rest, mariadb, nil
}

// parseHosts reads host[:port][,host[:port]...]; IPv6 addresses are in brackets.
func parseHosts(authority string) ([]string, error) {
	var addresses []string
	for host := range strings.SplitSeq(authority, ",") {
		if strings.ContainsAny(host, "()= \t") {
			return nil, badURL("Fresnel does not read address=(...) and key=value hosts", urlCure)
		}
		a, err := parseHost(host)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, a)
	}
	return addresses, nil
}

func parseHost(host string) (string, error) {
	port := "3306"
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host, port = host[:i], host[i+1:]
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return "", badURL("the port is not a number from 1 to 65535", urlCure)
		}
	}
	if strings.HasPrefix(host, "[") != strings.HasSuffix(host, "]") || strings.Contains(strings.Trim(host, "[]"), "[") {
		return "", badURL("the brackets around the address do not match", urlCure)
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

// dialFirst connects to the first of the hosts that answers.
func dialFirst(addresses []string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		var errs []error
		for _, a := range addresses {
			c, err := d.DialContext(ctx, network, a)
			if err == nil {
				return c, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}
}

// urlProperties are the properties of a connection, by lower-case name: the
// drivers disagree on case, and no two differ in it alone.
type urlProperties struct {
	mariadb bool
	values  map[string]string
	asked   map[string]bool
	err     error
}

func newURLProperties(mariadb bool) *urlProperties {
	return &urlProperties{mariadb: mariadb, values: map[string]string{}, asked: map[string]bool{}}
}

func (p *urlProperties) set(key, value string) {
	if key = strings.ToLower(strings.TrimSpace(key)); key != "" {
		p.values[key] = value
	}
}

func (p *urlProperties) addQuery(query string) {
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if v, err := url.QueryUnescape(value); err == nil {
			value = v
		}
		p.set(key, value)
	}
}

func (p *urlProperties) addList(list string) {
	for pair := range strings.SplitSeq(list, ";") {
		key, value, _ := strings.Cut(pair, "=")
		p.set(key, strings.TrimSpace(value))
	}
}

func (p *urlProperties) addUserInfo(info string) {
	user, password, _ := strings.Cut(info, ":")
	for key, value := range map[string]string{"user": user, "password": password} {
		if v, err := url.PathUnescape(value); err == nil {
			value = v
		}
		p.set(key, value)
	}
}

func (p *urlProperties) text(keys ...string) string {
	out := ""
	for _, key := range keys {
		key = strings.ToLower(key)
		p.asked[key] = true
		if v := p.values[key]; v != "" && out == "" {
			out = v
		}
	}
	return out
}

func (p *urlProperties) flag(key string, absent bool) bool {
	switch strings.ToLower(p.text(key)) {
	case "":
		return absent
	case "true", "yes", "1":
		return true
	case "false", "no", "0":
		return false
	}
	p.fail(key, "is not true or false")
	return absent
}

func (p *urlProperties) millis(key string) time.Duration {
	v := p.text(key)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 0 {
		p.fail(key, "is not a number of milliseconds")
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

func (p *urlProperties) fail(key, what string) {
	if p.err == nil {
		p.err = badURL(fmt.Sprintf("the property %s %s", key, what), "")
	}
}

// apply turns the properties into settings of the driver.
func (p *urlProperties) apply(t *target) {
	t.config.User, t.config.Passwd = p.text("user"), p.text("password")
	t.config.Timeout = p.millis("connectTimeout")
	if t.config.Timeout == 0 {
		t.config.Timeout = 10 * time.Second
	}
	socket := p.millis("socketTimeout")
	t.config.ReadTimeout, t.config.WriteTimeout = socket, socket
	t.config.Collation = p.text("connectionCollation")
	_ = t.config.Apply(driver.Charset("utf8mb4", t.config.Collation))
	t.config.InterpolateParams = true
	t.tinyBool = p.flag("tinyInt1isBit", true)
	t.zeroIsNull = strings.EqualFold(strings.ReplaceAll(p.text("zeroDateTimeBehavior"), "_", ""), "convertToNull") || p.mariadb
	p.applyGuarantee(t)
	p.applyZone(t)
	p.applyTLS(t)
	p.applySession(t)
	for key := range p.values {
		if !p.asked[key] && !slices.Contains(harmlessProperties, key) {
			t.ignored = append(t.ignored, key)
		}
	}
	slices.Sort(t.ignored)
}

func (p *urlProperties) applyGuarantee(t *target) {
	switch strings.ToLower(p.text(guaranteeKey)) {
	case "", exactlyOnce:
	case atLeastOnce:
		t.atLeastOnce = true
	default:
		p.fail(guaranteeKey, "is not "+exactlyOnce+" or "+atLeastOnce)
	}
}

// harmlessProperties say how Java's drivers work inside.
var harmlessProperties = []string{
	"allowpublickeyretrieval", "autoreconnect", "cacheprepstmts", "cacheserverconfiguration", "cacheresultsetmetadata",
	"characterencoding", "characterset", "characterencodingresults", "charactersetresults", "defaultfetchsize",
	"elidesetautocommits", "failoverreadonly", "maintaintimestats", "maxreconnects", "noaccesstoprocedurebodies",
	"nullcatalogmeanscurrent", "paranoid", "prepstmtcachesize", "prepstmtcachesqllimit", "rewritebatchedstatements",
	"tcpkeepalive", "tcpnodelay", "usebulkstmts", "usecompression", "usecursorfetch", "usejdbccompliancetimezoneshift",
	"uselegacydatetimecode", "uselocalsessionstate", "useserverprepstmts", "useunicode", "useoldaliasmetadatabehavior",
	"useinformationschema", "yearisdatetype", "permitmysqlscheme",
}

// applyZone reads the zones of both drivers, old names and new.
func (p *urlProperties) applyZone(t *target) {
	name := p.text("connectionTimeZone", "serverTimezone", "timezone")
	switch strings.ToUpper(name) {
	case "", "SERVER", "AUTO", "DISABLE":
		return
	case "LOCAL":
		t.zone = time.Local
		return
	}
	zone, err := parseZone(name)
	if err != nil {
		p.fail("serverTimezone", "is not a time zone such as UTC or Asia/Shanghai")
	}
	t.zone = zone
}

// parseZone reads a zone's name, or an offset such as +08:00 or GMT+8.
func parseZone(name string) (*time.Location, error) {
	offset := strings.TrimPrefix(strings.TrimPrefix(strings.ToUpper(name), "GMT"), "UTC")
	for _, layout := range []string{"-07:00", "-0700", "-07"} {
		if at, err := time.Parse(layout, offset); err == nil {
			_, seconds := at.Zone()
			return time.FixedZone(name, seconds), nil
		}
	}
	if sign := strings.TrimLeft(offset, "+-"); len(offset) == 2 && len(sign) == 1 { // GMT+8
		return parseZone(offset[:1] + "0" + sign + ":00")
	}
	if name == "" || strings.EqualFold(name, "Local") {
		return nil, errors.New("no zone")
	}
	return time.LoadLocation(name)
}

// applyTLS reads sslMode of both drivers, and useSSL of the older ones.
func (p *urlProperties) applyTLS(t *target) {
	mode := strings.ToUpper(strings.ReplaceAll(p.text("sslMode"), "-", "_"))
	use, verify := p.text("useSSL"), p.flag("verifyServerCertificate", false)
	require := p.flag("requireSSL", false)
	if mode == "" {
		switch {
		case strings.EqualFold(use, "false"):
			mode = "DISABLED"
		case verify:
			mode = "VERIFY_CA"
		case require, strings.EqualFold(use, "true") && p.mariadb:
			mode = "REQUIRED"
		case p.mariadb && use == "":
			mode = "DISABLED"
		default:
			mode = "PREFERRED"
		}
	}
	roots := p.roots()
	switch mode {
	case "DISABLED", "DISABLE":
	case "PREFERRED":
		t.config.TLSConfig = "preferred"
	case "REQUIRED", "TRUST":
		t.config.TLS = &tls.Config{InsecureSkipVerify: true}
	case "VERIFY_CA":
		t.config.TLS = verifyChain(roots)
	case "VERIFY_IDENTITY", "VERIFY_FULL":
		t.config.TLS = &tls.Config{RootCAs: roots}
		t.config.TLS.ServerName, _, _ = net.SplitHostPort(t.config.Addr)
	default:
		p.fail("sslMode", "is not DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY")
	}
}

// roots returns the certificates to trust, nil for the system's.
func (p *urlProperties) roots() *x509.CertPool {
	path := p.text("serverSslCert", "trustCertificateKeyStoreUrl", "trustStore")
	p.text("trustCertificateKeyStoreType", "trustCertificateKeyStorePassword", "trustStorePassword", "trustStoreType")
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(strings.TrimPrefix(path, "file:"))
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(data) {
		p.fail("trustCertificateKeyStoreUrl", "is not a file of certificates in PEM that can be read where Fresnel runs")
	}
	return pool
}

// verifyChain checks the certificate but not the host's name.
func verifyChain(roots *x509.CertPool) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		if len(s.PeerCertificates) == 0 {
			return x509.CertificateInvalidError{Detail: "the server sent no certificate"}
		}
		for _, c := range s.PeerCertificates[1:] {
			options.Intermediates.AddCert(c)
		}
		_, err := s.PeerCertificates[0].Verify(options)
		return err
	}}
}

// applySession sets what sessionVariables asks for: k=v,k=v where a value may
// be quoted.
func (p *urlProperties) applySession(t *target) {
	for _, pair := range splitOutsideQuotes(p.text("sessionVariables"), ",;") {
		key, value, found := strings.Cut(pair, "=")
		if key = strings.TrimSpace(key); !found || key == "" {
			continue
		}
		if t.config.Params == nil {
			t.config.Params = map[string]string{}
		}
		t.config.Params[key] = strings.TrimSpace(value)
	}
}

// splitOutsideQuotes splits at any of the separators that is not within quotes
// or parentheses.
func splitOutsideQuotes(s, separators string) []string {
	var parts []string
	var quote byte
	depth, start := 0, 0
	for i := range len(s) {
		c := s[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"' || c == '`':
			quote = c
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth <= 0 && strings.IndexByte(separators, c) >= 0:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}
