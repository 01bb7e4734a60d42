package mysql

import (
	"strings"
	"testing"
	"time"

	"fresnel/internal/beam"
)

func TestURLs(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"jdbc:mysql://db:3307/cdn":                                        "u:p@db:3307/cdn",
		"jdbc:mariadb://db/cdn?useSSL=false":                              "u:p@db:3306/cdn",
		"jdbc:mysql://[::1]:3306/cdn":                                     "u:p@[::1]:3306/cdn",
		"jdbc:mysql://[::1]/":                                             "u:p@[::1]:3306/",
		"jdbc:mysql:///cdn":                                               "u:p@localhost:3306/cdn",
		"jdbc:mysql://other:pw@db/cdn":                                    "u:p@db:3306/cdn",
		"jdbc:mysql://a,b:3307/cdn":                                       "u:p@a:3306/cdn",
		"jdbc:mysql://db/cdn?user=x&password=y":                           "u:p@db:3306/cdn",
		"JDBC:MYSQL://db/c%20n?rewriteBatchedStatements=true&useSSL=true": "u:p@db:3306/c n",
	} {
		target, err := parseURL(url, "u", "p", "")
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		c := target.config
		if got := c.User + ":" + c.Passwd + "@" + c.Addr + "/" + c.DBName; got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
		if len(target.ignored) > 0 {
			t.Errorf("%s: %v ignored", url, target.ignored)
		}
	}
}

func TestCredentialsOfTheURLAreUsedWhereNoOthersAreGiven(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"jdbc:mysql://a%40b:p%3Aw@db/x", "jdbc:mysql://db/x?user=a%40b&password=p%3Aw"} {
		target, err := parseURL(url, "", "", "")
		if err != nil || target.config.User != "a@b" || target.config.Passwd != "p:w" {
			t.Errorf("%s: %v, %v", url, target, err)
		}
	}
}

func TestProperties(t *testing.T) {
	t.Parallel()
	target, err := parseURL("jdbc:mysql://db/x?connectTimeout=2500&serverTimezone=GMT%2B8&sessionVariables=sql_mode='A,B',wait_timeout=5&what=1",
		"u", "p", "socketTimeout=1000; tinyInt1isBit=false;zeroDateTimeBehavior=CONVERT_TO_NULL;autoReconnect=true")
	if err != nil {
		t.Fatal(err)
	}
	c := target.config
	_, offset := time.Now().In(target.zone).Zone()
	if c.Timeout != 2500*time.Millisecond || c.ReadTimeout != time.Second || target.tinyBool || !target.zeroIsNull || offset != 8*3600 {
		t.Errorf("%+v, offset %d", target, offset)
	}
	if c.Params["sql_mode"] != "'A,B'" || c.Params["wait_timeout"] != "5" || strings.Join(target.ignored, "") != "what" {
		t.Errorf("%v, ignored %v", c.Params, target.ignored)
	}
}

func TestTLSModes(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"mysql://h/d":                         "preferred",
		"mysql://h/d?useSSL=false":            "none",
		"mysql://h/d?sslMode=REQUIRED":        "any",
		"mysql://h/d?sslMode=VERIFY_IDENTITY": "full",
		"mariadb://h/d":                       "none",
		"mariadb://h/d?sslMode=verify-full":   "full",
		"mariadb://h/d?sslMode=trust":         "any",
		"mariadb://h/d?useSSL=true":           "any",
	} {
		target, err := parseURL("jdbc:"+query, "", "", "")
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		got := "none"
		switch c := target.config; {
		case c.TLS != nil && c.TLS.InsecureSkipVerify:
			got = "any"
		case c.TLS != nil:
			got = "full"
		case c.TLSConfig != "":
			got = c.TLSConfig
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

func TestURLsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "jdbc:postgresql://h/secret-word", "mysql://h/secret-word", "jdbc:mysql:secret-word", "jdbc:mysql://h:0/secret-word",
		"jdbc:mysql://h:x/?password=secret-word", "jdbc:mysql:replication://h/secret-word", "jdbc:mysql://address=(host=h)/secret-word",
		"jdbc:mysql://h/%zz?password=secret-word", "jdbc:mysql://h/d?connectTimeout=secret-word", "jdbc:mysql://h/d?sslMode=secret-word",
		"jdbc:mysql://h/d?serverTimezone=secret-word", "jdbc:mysql://[::1/secret-word"} {
		_, err := parseURL(url, "", "", "")
		if code := beam.CodeOf(err); err == nil || code == beam.Internal {
			t.Errorf("%q: %v", url, err)
			continue
		}
		if strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%q: the error shows it: %v", url, err)
		}
	}
}

func TestTheZoneOfASession(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		session, system, diff string
		want                  int
	}{
		{"SYSTEM", "UTC", "00:00:00", 0},
		{"+05:30", "UTC", "05:30:00", 19800},
		{"Europe/Berlin", "UTC", "02:00:00", 7200},
		{"SYSTEM", "CST", "08:00:00", 28800},
		{"SYSTEM", "PDT", "-07:00:00", -25200},
		{"SYSTEM", "", "garbage", 0},
	} {
		if _, got := at.In(sessionZone(test.session, test.system, test.diff)).Zone(); got != test.want {
			t.Errorf("%+v: %d", test, got)
		}
	}
}

func FuzzURL(f *testing.F) {
	f.Add("jdbc:mysql://u:p@h:1/d?useSSL=true&sessionVariables=a='b,c'", "k=v;k2=v2")
	f.Add("jdbc:mariadb://[::1]:3306,h2/d?sslMode=verify-ca&timezone=GMT%2B8", "")
	f.Fuzz(func(t *testing.T, url, properties string) {
		// A file that the URL names is none of the fuzzer's business.
		if strings.Contains(strings.ToLower(url+properties), "cert") || strings.Contains(strings.ToLower(url+properties), "trust") {
			return
		}
		target, err := parseURL(url, "", "secret-word", properties)
		if err == nil && (target.config.Addr == "" || target.name() == "") {
			t.Errorf("%q: %+v", url, target)
		}
		if err != nil && beam.CodeOf(err) == beam.Internal {
			t.Errorf("%q: %v", url, err)
		}
	})
}
