package mysql

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"fresnel/connectors"
	"fresnel/connectors/connectorstest"
	"fresnel/integration/parts"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// The tests here use a real server, one for all of them.
var shared struct {
	once   sync.Once
	server *parts.MariaDB
	db     *sql.DB
	dir    string
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		shared.server.Stop()
	}
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

func server(t testing.TB) *parts.MariaDB {
	t.Helper()
	if testing.Short() {
		t.Skip("a real MariaDB server")
	}
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "fresnel-mariadb-"); shared.err != nil { //nolint:usetesting // it outlives the test that happens to start it
			return
		}
		if shared.server, shared.err = parts.LaunchMariaDB(shared.dir, filepath.Join(shared.dir, "log")); shared.err == nil {
			shared.db, shared.err = sql.Open("mysql", shared.server.DSN())
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

func execute(t testing.TB, sql string, args ...any) {
	t.Helper()
	server(t)
	if _, err := shared.db.ExecContext(context.Background(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// query returns the rows of a query as texts, NULL as <nil>.
func query(t testing.TB, text string, args ...any) [][]string {
	t.Helper()
	rows, err := shared.db.QueryContext(context.Background(), text, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for rows.Next() {
		values, targets := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		row := make([]string, len(columns))
		for i, v := range values {
			if row[i] = v.String; !v.Valid {
				row[i] = "<nil>"
			}
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

var (
	tables atomic.Int64
	runs   sync.Map // their numbers by testing.TB
)

// newTable makes a table of its own for a test.
func newTable(t testing.TB, columns string) string {
	t.Helper()
	name := fmt.Sprintf("t%d", tables.Add(1))
	execute(t, "CREATE TABLE "+name+" ("+columns+")")
	return name
}

// jobOf is the job of one run of a test: what a run before kept is not its own.
func jobOf(t testing.TB) string {
	n, _ := runs.LoadOrStore(t, tables.Add(1))
	return fmt.Sprintf("job %d of %s", n, t.Name())
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func schemaOf(fields ...coder.Field) *coder.Coder {
	return coder.RowCoder(&coder.Schema{Fields: fields})
}

func connectTo(m *parts.MariaDB) connectSpec {
	return connectSpec{URL: m.JDBCURL(), User: parts.MariaDBUser, Password: parts.MariaDBPassword}
}

func writeTransform(t testing.TB, spec writeSpec, row *coder.Coder) connectors.Transform {
	t.Helper()
	payload, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return connectors.Transform{URN: WriteURN, Payload: payload, Name: "Write rows", Job: jobOf(t),
		Input: coder.NewWindowed(row, coder.GlobalWindow)}
}

var oneField = schemaOf(coder.Field{Name: "v", Type: coder.Atomic(coder.TypeString)})

func TestSinkContract(t *testing.T) {
	m := server(t)
	for name, statement := range map[string]string{
		"ManyRowsAStatement": "INSERT INTO %s (v) VALUES (?)",
		"RowByRow":           "INSERT INTO %s (v) SELECT ?",
	} {
		t.Run(name, func(t *testing.T) {
			connectorstest.Sink(t, func(t *testing.T) connectorstest.SinkCase {
				table := newTable(t, "id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20) UNIQUE")
				encode := func(t testing.TB, text string) []byte {
					return connectorstest.Encode(t, oneField, 0, coder.Row{Schema: oneField.Schema(), Values: []any{text}})[0]
				}
				return connectorstest.SinkCase{
					Connector:   New(testLog(t)),
					Transform:   writeTransform(t, writeSpec{connectSpec: connectTo(m), Statement: fmt.Sprintf(statement, table)}, oneField),
					Encode:      encode,
					Refused:     encode(t, "a value that is longer than the column"),
					RefusedText: `v="a value that is longer`,
					Contents: func(t testing.TB) []string {
						var out []string
						for _, row := range query(t, "SELECT v FROM "+table+" ORDER BY id") {
							out = append(out, row[0])
						}
						return out
					},
					Stop: func(testing.TB) { m.Kill() },
					Start: func(t testing.TB) {
						if err := m.Restart(); err != nil {
							t.Fatal(err)
						}
					},
				}
			})
		})
	}
}

// write runs one entry of rows and returns its error.
func write(t testing.TB, spec writeSpec, row *coder.Coder, rows ...[]any) error {
	t.Helper()
	s, err := New(testLog(t)).Sink(writeTransform(t, spec, row))
	if err != nil {
		return err
	}
	defer s.Close()
	w, _, err := s.Open(context.Background(), 0, 1)
	if err != nil {
		return err
	}
	defer w.Close()
	var entry [][]byte
	for _, r := range rows {
		entry = append(entry, connectorstest.Encode(t, row, 0, coder.Row{Schema: row.Schema(), Values: r})...)
	}
	return w.Write(context.Background(), 1, entry)
}

// probe is what the server says of a sink before there are rows.
func probe(t testing.TB, spec writeSpec, row *coder.Coder) error {
	t.Helper()
	s, err := New(testLog(t)).Sink(writeTransform(t, spec, row))
	if err != nil {
		return err
	}
	defer s.Close()
	return s.(connectors.Prober).Probe(t.Context())
}

func TestEveryTypeIsWritten(t *testing.T) {
	m := server(t)
	f := func(name string, ft coder.FieldType) coder.Field { return coder.Field{Name: name, Type: ft.OrNull()} }
	row := schemaOf(
		f("i16", coder.Atomic(coder.TypeInt16)), f("i32", coder.Atomic(coder.TypeInt32)), f("i64", coder.Atomic(coder.TypeInt64)),
		f("f", coder.Atomic(coder.TypeFloat)), f("d", coder.Atomic(coder.TypeDouble)), f("s", coder.Atomic(coder.TypeString)),
		f("b", coder.Atomic(coder.TypeBoolean)), f("raw", coder.Atomic(coder.TypeBytes)), f("dec", coder.DecimalType()),
		f("day", coder.DateType()), f("clock", coder.TimeType()), f("millis", coder.MillisInstant()), f("micros", coder.MicrosInstant()))
	at := time.Date(2026, 2, 3, 4, 5, 6, 123_000_000, time.UTC)
	micros := at.Add(456 * time.Microsecond)
	values := []any{int16(-7), int32(70_000), int64(1 << 40), float32(0.1), 2.5, "O'Reilly\\ ❤ \x00 \"?\"", true, []byte{0, 1, 0xff, '\''},
		coder.Decimal{Unscaled: big.NewInt(-12345), Scale: 3}, coder.DateOf(at), coder.TimeOfDay(4*time.Hour + 5*time.Minute + 6*time.Second), at, micros}
	nulls := make([]any, len(values))
	for name, statement := range map[string]string{
		"prepared":      "INSERT INTO %s SELECT NULL,?,?,?,?,?,?,?,?,?,?,?,?,?",
		"many":          "INSERT INTO %s VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,?)",
		"in a timezone": "INSERT INTO %s VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	} {
		t.Run(name, func(t *testing.T) {
			table := newTable(t, `id INT AUTO_INCREMENT PRIMARY KEY, i16 SMALLINT, i32 INT, i64 BIGINT, f DOUBLE, d DOUBLE, s TEXT, b TINYINT(1), raw BLOB,
				de DECIMAL(10,3), da DATE, cl TIME, mi DATETIME(6), mic DATETIME(6)`)
			spec := writeSpec{connectSpec: connectTo(m), Statement: fmt.Sprintf(statement, table)}
			millis, microsText := "2026-02-03 04:05:06.123000", "2026-02-03 04:05:06.123456"
			if name == "in a timezone" {
				spec.URL += "?serverTimezone=Asia/Shanghai"
				millis, microsText = "2026-02-03 12:05:06.123000", "2026-02-03 12:05:06.123456"
			}
			if err := write(t, spec, row, values, nulls, values); err != nil {
				t.Fatal(err)
			}
			got := query(t, "SELECT i16,i32,i64,f,d,s,b,HEX(raw),de,da,cl,mi,mic FROM "+table+" ORDER BY id")
			want := []string{"-7", "70000", "1099511627776", "0.1", "2.5", "O'Reilly\\ ❤ \x00 \"?\"", "1", "0001FF27", "-12.345",
				"2026-02-03", "04:05:06", millis, microsText}
			if len(got) != 3 || !slices.Equal(got[0], want) || !slices.Equal(got[2], want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			if strings.Join(got[1], "") != strings.Repeat("<nil>", len(want)) {
				t.Errorf("nulls: %q", got[1])
			}
		})
	}
}

func TestAnyStatementIsRun(t *testing.T) {
	m := server(t)
	row := schemaOf(coder.Field{Name: "k", Type: coder.Atomic(coder.TypeString)}, coder.Field{Name: "n", Type: coder.Atomic(coder.TypeInt64)})
	for name, test := range map[string]struct{ setup, statement, want string }{
		"upsert":           {"", "INSERT INTO %[1]s (k, n) VALUES (?, ?) ON DUPLICATE KEY UPDATE n = n + VALUES(n)", "a=4 b=2"},
		"replace":          {"", "REPLACE INTO %[1]s VALUES (?, ?)", "a=3 b=2"},
		"last one wins":    {"", "INSERT INTO %[1]s VALUES (?, ?) ON DUPLICATE KEY UPDATE n = VALUES(n)", "a=3 b=2"},
		"ignore":           {"", "INSERT IGNORE INTO %[1]s VALUES (?, ?)", "a=1 b=2"},
		"insert select":    {"", "INSERT INTO %[1]s SELECT ?, ? ON DUPLICATE KEY UPDATE n = 9", "a=9 b=2"},
		"update":           {"INSERT INTO %[1]s VALUES ('a', 1), ('b', 1), ('c', 1)", "UPDATE %[1]s SET k = CONCAT(k, 'x') WHERE k = ? AND n <> ?", "ax=1 bx=1 c=1"},
		"call":             {"CREATE OR REPLACE PROCEDURE %[1]s_p(a VARCHAR(20), b BIGINT) BEGIN SELECT a, b; INSERT INTO %[1]s VALUES (a, b) ON DUPLICATE KEY UPDATE n = n + b; END", "CALL %[1]s_p(?, ?)", "a=4 b=2"},
		"delete":           {"INSERT INTO %[1]s VALUES ('a', 1), ('b', 1), ('c', 1)", "DELETE FROM %[1]s WHERE k = ? AND n < ?", "b=1 c=1"},
		"a mark in a text": {"", "INSERT INTO %[1]s VALUES (CONCAT(?, '?'), ?) ON DUPLICATE KEY UPDATE n = 7", "a?=7 b?=2"},
	} {
		t.Run(name, func(t *testing.T) {
			table := newTable(t, "k VARCHAR(20) PRIMARY KEY, n BIGINT")
			if test.setup != "" {
				execute(t, fmt.Sprintf(test.setup, table))
			}
			rows := [][]any{{"a", int64(1)}, {"b", int64(2)}, {"a", int64(3)}}
			if name == "delete" {
				rows = [][]any{{"a", int64(5)}, {"b", int64(0)}}
			}
			if err := write(t, writeSpec{connectSpec: connectTo(m), Statement: fmt.Sprintf(test.statement, table)}, row, rows...); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range query(t, "SELECT k, n FROM "+table+" ORDER BY k") {
				got = append(got, r[0]+"="+r[1])
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %q, want %q", strings.Join(got, " "), test.want)
			}
		})
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	m := server(t)
	table := newTable(t, "v VARCHAR(5) PRIMARY KEY")
	for name, test := range map[string]struct {
		change func(*writeSpec)
		rows   [][]any
		want   []string
	}{
		"unknown table":  {func(s *writeSpec) { s.Statement = "INSERT INTO nowhere VALUES (?)" }, nil, []string{"nowhere", "create the table"}},
		"unknown column": {func(s *writeSpec) { s.Statement = "INSERT INTO " + table + " (w) VALUES (?)" }, nil, []string{"'w'", "column"}},
		"wrong password": {func(s *writeSpec) { s.Password = "wrong-secret" }, nil, []string{"Access denied", "check the user name"}},
		"unknown schema": {func(s *writeSpec) { s.URL += "x" }, nil, []string{"fresnelx", "database"}},
		"syntax":         {func(s *writeSpec) { s.Statement = "INSER INTO x VALUES (?)" }, nil, []string{"INSER", "correct the statement"}},
		"marks":          {func(s *writeSpec) { s.Statement = "INSERT INTO " + table + " VALUES (?) ON DUPLICATE KEY UPDATE v = ?" }, nil, []string{"2 placeholders", "1 fields"}},
		"too long":       {nil, [][]any{{"ok"}, {"far too long"}}, []string{`v="far too long"`, "column"}},
		"twice":          {nil, [][]any{{"x"}, {"x"}}, []string{`v="x"`, "ON DUPLICATE KEY UPDATE"}},
	} {
		t.Run(name, func(t *testing.T) {
			spec := writeSpec{connectSpec: connectTo(m), Statement: "INSERT INTO " + table + " VALUES (?)"}
			if test.change != nil {
				test.change(&spec)
			}
			err := write(t, spec, oneField, test.rows...)
			if asked := probe(t, spec, oneField); test.rows == nil && fmt.Sprint(asked) != fmt.Sprint(err) {
				t.Errorf("before there is a row it says: %v", asked)
			}
			if code := beam.CodeOf(err); err == nil || code == beam.Unavailable || code == beam.Internal {
				t.Fatalf("%v", err)
			}
			for _, w := range append(test.want, "Write rows") {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not contain %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), parts.MariaDBPassword) {
				t.Errorf("the error shows the password: %v", err)
			}
			t.Log(err)
		})
	}
}

func TestASinkWithoutTheRightToItsProgressTableSaysHowToWrite(t *testing.T) {
	m := server(t)
	execute(t, "CREATE DATABASE IF NOT EXISTS narrow")
	execute(t, "CREATE TABLE IF NOT EXISTS narrow.t (v VARCHAR(20))")
	execute(t, "CREATE USER IF NOT EXISTS 'narrow'@'%' IDENTIFIED BY 'narrow'")
	execute(t, "GRANT INSERT ON narrow.t TO 'narrow'@'%'")
	spec := writeSpec{connectSpec: connectSpec{URL: strings.Replace(m.JDBCURL(), "/fresnel", "/narrow", 1), User: "narrow", Password: "narrow"}, Table: "t"}
	s := durableSink(t, spec)
	_, _, err := s.Open(t.Context(), 0, 1)
	for _, want := range []string{progressTable, "grant CREATE", guaranteeKey + "=" + atLeastOnce} {
		if beam.CodeOf(err) != beam.Rejected || !strings.Contains(err.Error(), want) {
			t.Errorf("%v says nothing of %s", err, want)
		}
	}
	spec.Properties = guaranteeKey + "=" + atLeastOnce
	w, last, err := durableSink(t, spec).Open(t.Context(), 0, 1)
	if err != nil || last != connectors.NoProgress {
		t.Fatal(last, err)
	}
	defer w.Close()
	if err := w.Write(t.Context(), 1, connectorstest.Encode(t, oneField, 0, coder.Row{Schema: oneField.Schema(), Values: []any{"x"}})); err != nil {
		t.Fatal(err)
	}
}

func TestADeadlockIsUnavailable(t *testing.T) {
	m := server(t)
	table := newTable(t, "v VARCHAR(20) PRIMARY KEY, n INT")
	execute(t, "INSERT INTO "+table+" VALUES ('a', 0)")
	tx, err := shared.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // the test is over
	if _, err := tx.ExecContext(t.Context(), "UPDATE "+table+" SET n = 1"); err != nil {
		t.Fatal(err)
	}
	spec := writeSpec{connectSpec: connectTo(m), Statement: "UPDATE " + table + " SET n = n + 1 WHERE v = ?"}
	spec.Init = []string{"SET innodb_lock_wait_timeout = 1"}
	if err := write(t, spec, oneField, []any{"a"}); beam.CodeOf(err) != beam.Unavailable {
		t.Errorf("a lock wait timeout: %v", err)
	}
}

// BenchmarkWrite writes entries of a thousand rows of three fields.
func BenchmarkWrite(b *testing.B) {
	m := server(b)
	row := schemaOf(coder.Field{Name: "k", Type: coder.Atomic(coder.TypeInt64)}, coder.Field{Name: "n", Type: coder.Atomic(coder.TypeInt64)},
		coder.Field{Name: "s", Type: coder.Atomic(coder.TypeString)})
	for name, statement := range map[string]string{
		"many": "INSERT INTO %s VALUES (?,?,?) ON DUPLICATE KEY UPDATE n = VALUES(n)", "one": "INSERT INTO %s SELECT ?,?,? ON DUPLICATE KEY UPDATE n = 1"} {
		b.Run(name, func(b *testing.B) {
			table := newTable(b, "k BIGINT PRIMARY KEY, n BIGINT, s VARCHAR(100)")
			s, err := New(testLog(b)).Sink(writeTransform(b, writeSpec{connectSpec: connectTo(m), Statement: fmt.Sprintf(statement, table)}, row))
			if err != nil {
				b.Fatal(err)
			}
			w, _, err := s.Open(b.Context(), 0, 1)
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			var values []any
			for i := range 1000 {
				values = append(values, coder.Row{Schema: row.Schema(), Values: []any{int64(i), int64(i), strings.Repeat("x", 50)}})
			}
			entry := connectorstest.Encode(b, row, 0, values...)
			n := int64(0)
			for b.Loop() {
				n++
				if err := w.Write(b.Context(), n, entry); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*1000/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// readTransform is a native read of a query, expanded as a client's would be.
func readTransform(t testing.TB, spec readSpec) (connectors.Transform, *coder.Coder) {
	t.Helper()
	e, err := expandSource(context.Background(), "Read rows", &spec, true)
	if err != nil {
		t.Fatal(err)
	}
	return connectors.Transform{URN: ReadURN, Payload: e.Payload, Name: "Read rows"}, e.Outputs[0].Coder
}

func TestSourceContract(t *testing.T) {
	m := server(t)
	connectorstest.Source(t, func(t *testing.T) connectorstest.SourceCase {
		table := newTable(t, "id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20)")
		tr, c := readTransform(t, readSpec{connectSpec: connectTo(m), Query: "SELECT v FROM " + table + " ORDER BY id"})
		return connectorstest.SourceCase{
			Connector: New(testLog(t)),
			Transform: tr,
			Coder:     c,
			Render:    func(v any) string { return fmt.Sprint(v.(coder.Row).Values[0]) },
			Append: func(t testing.TB, texts ...string) {
				for part := range slices.Chunk(texts, 1000) {
					args := make([]any, len(part))
					for i, text := range part {
						args[i] = text
					}
					execute(t, "INSERT INTO "+table+" (v) VALUES "+strings.TrimSuffix(strings.Repeat("(?),", len(part)), ","), args...)
				}
			},
		}
	})
}

// readRows reads all splits of a read.
func readRows(t *testing.T, tr connectors.Transform, c *coder.Coder) (rows [][]any, splits int) {
	t.Helper()
	s, err := New(testLog(t)).Source(tr)
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Splits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, split := range all {
		r, err := s.Open(t.Context(), split, split.Start)
		if err != nil {
			t.Fatal(err)
		}
		for done := false; !done; {
			b, err := r.Read(t.Context(), 1<<20, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			rows, done = append(rows, rowsOf(t, c, b.Elements)...), b.Done
		}
		_ = r.Close()
	}
	return rows, len(all)
}

func rowsOf(t *testing.T, c *coder.Coder, b []byte) [][]any {
	t.Helper()
	w := coder.NewWindowed(c, coder.GlobalWindow)
	var out [][]any
	for len(b) > 0 {
		var e coder.Element
		n, err := w.Scan(b, &e)
		if err != nil {
			t.Fatal(err)
		}
		v, _, err := c.Decode(e.Value)
		if err != nil {
			t.Fatal(err)
		}
		out, b = append(out, v.(coder.Row).Values), b[n:]
	}
	return out
}

func TestEveryTypeIsRead(t *testing.T) {
	m := server(t)
	table := newTable(t, `id INT PRIMARY KEY, flag TINYINT(1), bits BIT(1), ti TINYINT, us SMALLINT UNSIGNED, u INT UNSIGNED, big BIGINT UNSIGNED,
		f FLOAT, d DOUBLE, de DECIMAL(10,3), s VARCHAR(20), j JSON, e ENUM('a','b'), raw VARBINARY(10), day DATE, ti2 TIME, at DATETIME(6), ts TIMESTAMP(3) NULL`)
	execute(t, "SET GLOBAL time_zone = '+08:00'")
	defer execute(t, "SET GLOBAL time_zone = 'SYSTEM'")
	execute(t, "INSERT INTO "+table+` VALUES (1, 1, 1, -5, 65535, 4294967295, 18446744073709551615, 0.1, 2.5, -12.345, '❤', '{"a":1}', 'b', x'00FF',
		'2026-02-03', '-25:00:01', '2026-02-03 04:05:06.123456', FROM_UNIXTIME(1770000000.5)),
		(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`)
	zone := time.FixedZone("+08:00", 8*3600)
	tr, c := readTransform(t, readSpec{connectSpec: connectTo(m), Query: "SELECT * FROM " + table})
	rows, _ := readRows(t, tr, c)
	dec := func(s string) coder.Decimal { d, _ := coder.ParseDecimal(s); return d }
	want := []any{int32(1), true, true, int16(-5), int32(65535), int64(4294967295), dec("18446744073709551615"), float32(0.1), 2.5, dec("-12.345"), "❤",
		`{"a":1}`, "b", []byte{0, 255}, coder.DateOf(time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC)), "-25:00:01",
		time.Date(2026, 2, 3, 4, 5, 6, 123456000, zone).UTC(), time.UnixMilli(1770000000500).UTC()}
	if len(rows) != 2 {
		t.Fatalf("%d rows", len(rows))
	}
	for i, w := range want {
		if fmt.Sprintf("%T %v", rows[0][i], rows[0][i]) != fmt.Sprintf("%T %v", w, w) {
			t.Errorf("column %d: got %T %v, want %T %v", i, rows[0][i], rows[0][i], w, w)
		}
		if i > 0 && rows[1][i] != nil {
			t.Errorf("column %d: %v where it is NULL", i, rows[1][i])
		}
	}
}

func TestAReadIsPartitioned(t *testing.T) {
	m := server(t)
	table := newTable(t, "n BIGINT, v INT")
	execute(t, "INSERT INTO "+table+" VALUES (-9000000000000000000, 1), (NULL, 2), (0, 3), (9000000000000000000, 4), (1, 5)")
	for _, parts := range []int64{0, 1, 3, 7} {
		tr, c := readTransform(t, readSpec{connectSpec: connectTo(m), Query: "SELECT * FROM " + table, Partition: "n", Parts: parts})
		rows, splits := readRows(t, tr, c)
		if parts == 0 {
			parts = defaultParts
		}
		if len(rows) != 5 || splits != int(parts) {
			t.Errorf("%d rows in %d splits, want 5 in %d", len(rows), splits, parts)
		}
	}
}

func TestAReadThatIsRefusedSaysWhatToDo(t *testing.T) {
	m := server(t)
	table := newTable(t, "day DATE")
	execute(t, "SET STATEMENT sql_mode='' FOR INSERT INTO "+table+" VALUES ('0000-00-00')")
	for name, test := range map[string]struct {
		query string
		want  string
	}{
		"no table":  {"SELECT * FROM nowhere", "create the table"},
		"no column": {"SELECT w FROM " + table, "column"},
		"syntax":    {"SELEC 1", "correct the statement"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := expandSource(t.Context(), "Read rows", &readSpec{connectSpec: connectTo(m), Query: test.query}, false)
			if beam.CodeOf(err) != beam.Rejected || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
		})
	}
	tr, _ := readTransform(t, readSpec{connectSpec: connectTo(m), Query: "SELECT * FROM " + table})
	s, err := New(testLog(t)).Source(tr)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), connectors.Split{ID: "all"}, rowPosition(0))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Read(t.Context(), 1<<20, 10*time.Second); beam.CodeOf(err) != beam.BadData || !strings.Contains(err.Error(), "CONVERT_TO_NULL") {
		t.Errorf("a zero date: %v", err)
	}
}
