package mysql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fresnel/connectors"
	"fresnel/connectors/connectorstest"
	"fresnel/integration/parts"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// durableSink opens a sink whose outbox survives crashes, as one process's.
func durableSink(t testing.TB, spec writeSpec) *sink {
	t.Helper()
	tr := writeTransform(t, spec, oneField)
	tr.Durable = true
	s, err := newSink(tr, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// entryOf is an entry of five rows.
func entryOf(t testing.TB, n int64) (elements [][]byte, values []string) {
	t.Helper()
	for i := range 5 {
		v := fmt.Sprintf("entry-%06d-%d", n, i)
		values = append(values, v)
		elements = append(elements, connectorstest.Encode(t, oneField, 0, coder.Row{Schema: oneField.Schema(), Values: []any{v}})...)
	}
	return elements, values
}

// outboxOf sends entries of entryOf.
func outboxOf(t testing.TB, s connectors.Sink, epoch int64) *connectorstest.Outbox {
	return &connectorstest.Outbox{T: t, Sink: s, Epoch: epoch, Entry: func(n int64) [][]byte {
		elements, _ := entryOf(t, n)
		return elements
	}}
}

// once checks that the rows of the entries 1 to last are there, each once and in
// order.
func once(t testing.TB, table string, last int64) {
	t.Helper()
	var want, got []string
	for n := range last {
		_, values := entryOf(t, n+1)
		want = append(want, values...)
	}
	for _, row := range query(t, "SELECT v FROM "+table+" ORDER BY id") {
		got = append(got, row[0])
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d rows where %d are expected, or others, or in another order", len(got), len(want))
	}
}

// plainInserts is a table without a key that would hide a double, and its
// statement.
func plainInserts(t testing.TB, form string) (table string, spec writeSpec) {
	table = newTable(t, "id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(40)")
	return table, writeSpec{connectSpec: connectTo(server(t)), Statement: fmt.Sprintf(form, table)}
}

const (
	manyRows = "INSERT INTO %s (v) VALUES (?)"
	rowByRow = "INSERT INTO %s (v) SELECT ?"
)

func TestConnectionsThatAreCutInsertNothingTwice(t *testing.T) {
	for name, form := range map[string]string{"many rows a statement": manyRows, "row by row": rowByRow} {
		t.Run(name, func(t *testing.T) {
			table, spec := plainInserts(t, form)
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			cutter := connectorstest.NewCutter(seed)
			s := durableSink(t, spec)
			s.target.config.DialFunc = cutter.Dial
			o := outboxOf(t, s, 1)
			cutter.Percent.Store(3)
			const entries = 80
			for n := range int64(entries) {
				if err := o.Send(t.Context(), n+1); err != nil {
					t.Fatal(err)
				}
				if n%7 == 6 { // after a crash the last ones are sent again
					o.Drop()
					o.Epoch++
					for again := max(n-2, 1); again <= n+1; again++ {
						if err := o.Send(t.Context(), again); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			o.Drop()
			t.Logf("%d cuts, %d faults", cutter.Cuts.Load(), o.Faults)
			if o.Faults == 0 {
				t.Error("no connection was cut within an entry")
			}
			once(t, table, entries)
		})
	}
}

// commitCut breaks the connection at a COMMIT: before it is sent, or when its
// answer comes.
type commitCut struct {
	net.Conn
	answer bool
	left   *atomic.Int32
	lost   bool
}

func (c *commitCut) Write(b []byte) (int, error) {
	if strings.HasSuffix(string(b), "COMMIT") && c.left.Add(-1) >= 0 {
		if !c.answer {
			_ = c.Close()
			return 0, net.ErrClosed
		}
		c.lost = true
	}
	return c.Conn.Write(b)
}

func (c *commitCut) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.lost && err == nil {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

func TestACommitOfUnknownOutcomeIsLookedUp(t *testing.T) {
	for _, answer := range []bool{false, true} {
		t.Run(fmt.Sprintf("answer=%v", answer), func(t *testing.T) {
			table, spec := plainInserts(t, manyRows)
			s := durableSink(t, spec)
			var left atomic.Int32
			s.target.config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				var d net.Dialer
				c, err := d.DialContext(ctx, network, addr)
				return &commitCut{Conn: c, answer: answer, left: &left}, err
			}
			o := outboxOf(t, s, 1)
			for n := range int64(6) {
				left.Store(int32(n % 3)) // the claim's commit too
				if err := o.Send(t.Context(), n+1); err != nil {
					t.Fatal(err)
				}
			}
			if o.Faults == 0 {
				t.Error("no commit was cut")
			}
			o.Drop()
			once(t, table, 6)
		})
	}
}

func TestADatabaseThatIsKilledHasEveryRowOnce(t *testing.T) {
	table, spec := plainInserts(t, manyRows)
	o := outboxOf(t, durableSink(t, spec), 1)
	m := server(t)
	killed := make(chan error, 1)
	n := int64(0)
	for kills, after := 0, 0; after < 20; after++ {
		n++
		if n%30 == 10 && kills < 3 {
			kills++
			go func() {
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
				m.Kill()
				killed <- m.Restart()
			}()
		}
		if err := o.Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if n%30 == 29 && n < 90 {
			if err := <-killed; err != nil {
				t.Fatal(err)
			}
		}
		if n < 90 {
			after = 0
		}
	}
	o.Drop()
	t.Logf("%d entries, %d faults", n, o.Faults)
	if o.Faults == 0 {
		t.Error("the database was not missed")
	}
	once(t, table, n)
}

// begun does what Write does up to the commit.
func begun(t *testing.T, w *writer, n int64) {
	t.Helper()
	elements, _ := entryOf(t, n)
	rows, err := w.rows(elements)
	if err == nil {
		err = w.session.begin(t.Context())
	}
	if err == nil {
		_, err = w.session.advance(t.Context(), w.progress, w.epoch, n)
	}
	if err == nil {
		err = w.run(t.Context(), rows)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnOwnerThatComesBackIsFenced(t *testing.T) {
	for name, comesBack := range map[string]func(*connectorstest.Outbox, *writer) error{
		"at its commit": func(o *connectorstest.Outbox, w *writer) error {
			if err := w.session.commit(o.T.Context()); !isLost(err) {
				return fmt.Errorf("its transaction is still there: %w", err)
			}
			return o.Send(o.T.Context(), 2) // as the runner does
		},
		"with the next entry": func(o *connectorstest.Outbox, _ *writer) error { return o.Send(o.T.Context(), 2) },
		"before it opens the shard": func(o *connectorstest.Outbox, _ *writer) error {
			_, _, err := o.Sink.Open(o.T.Context(), 0, 1)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			table, spec := plainInserts(t, manyRows)
			s := durableSink(t, spec)
			s.silence = time.Second
			old := outboxOf(t, s, 1)
			if err := old.Send(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			paused := old.Writer.(*writer)
			begun(t, paused, 2) // and there it is stopped, with the row locked
			newer := outboxOf(t, durableSink(t, spec), 2)
			for n := int64(1); n <= 3; n++ {
				if err := newer.Send(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			err := comesBack(old, paused)
			if beam.CodeOf(err) != beam.Rejected || !strings.Contains(err.Error(), "newer owner") {
				t.Errorf("the older owner: %v", err)
			}
			if err := newer.Send(t.Context(), 4); err != nil || newer.Faults > 0 {
				t.Errorf("the newer owner: %d faults, %v", newer.Faults, err)
			}
			old.Drop()
			newer.Drop()
			var want []string
			for n := range int64(4) {
				_, values := entryOf(t, n+1)
				want = append(want, values...)
			}
			got := query(t, "SELECT v FROM "+table+" ORDER BY v")
			if len(got) != len(want) || got[len(got)-1][0] != want[len(want)-1] {
				t.Errorf("%d rows, want %d", len(got), len(want))
			}
		})
	}
}

func TestAnIdleSinkOpensItsSessionAnew(t *testing.T) {
	table, spec := plainInserts(t, manyRows)
	s := durableSink(t, spec)
	s.silence = time.Second
	o := outboxOf(t, s, 1)
	for n := int64(1); n <= 2; n++ {
		if err := o.Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
	}
	if err := o.Send(t.Context(), 3); err != nil || o.Faults > 0 {
		t.Errorf("%d faults, %v", o.Faults, err)
	}
	o.Drop()
	once(t, table, 3)
}

func TestAnEntryIsTriedAgainAfterALockWaitTimeout(t *testing.T) {
	table, spec := plainInserts(t, "INSERT INTO %s (v) VALUES (?)")
	spec.Init = []string{"SET innodb_lock_wait_timeout = 1", "SET autocommit = 0"}
	o := outboxOf(t, durableSink(t, spec), 1)
	if err := o.Send(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	tx, err := shared.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // it may be over
	if _, err := tx.ExecContext(t.Context(), "SELECT * FROM "+table+" FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	elements, _ := entryOf(t, 2)
	if err := o.Attempt(t.Context(), 2, elements); beam.CodeOf(err) != beam.Unavailable {
		t.Errorf("with a lock held: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := o.Send(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	o.Drop()
	once(t, table, 2)
}

// TestDeadlocksLoseAndDoubleNothing has two shards write the same rows in
// opposite orders, which InnoDB ends by choosing a victim.
func TestDeadlocksLoseAndDoubleNothing(t *testing.T) {
	table := newTable(t, "v VARCHAR(40) PRIMARY KEY, n INT")
	for _, v := range []string{"a", "b", "c", "d", "e", "f"} {
		execute(t, "INSERT INTO "+table+" VALUES (?, 0)", v)
	}
	spec := writeSpec{connectSpec: connectTo(server(t)), Statement: "UPDATE " + table + " SET n = n + 1 WHERE v = ?"}
	s := durableSink(t, spec)
	encode := func(order []string) (out [][]byte) {
		for _, v := range order {
			out = append(out, connectorstest.Encode(t, oneField, 0, coder.Row{Schema: oneField.Schema(), Values: []any{v}})...)
		}
		return out
	}
	forth, back := encode([]string{"a", "b", "c", "d", "e", "f"}), encode([]string{"f", "e", "d", "c", "b", "a"})
	const entries = 60
	errs := make(chan error, 2)
	var victims atomic.Int64
	for shard, entry := range [][][]byte{forth, back} {
		go func() {
			errs <- func() error {
				w, _, err := s.Open(t.Context(), shard, 1)
				if err != nil {
					return err
				}
				defer w.Close()
				for n := int64(1); n <= entries; {
					switch err := w.Write(t.Context(), n, entry); {
					case err == nil:
						n++
					case beam.CodeOf(err) == beam.Unavailable:
						victims.Add(1)
					default:
						return err
					}
				}
				return nil
			}()
		}()
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d victims", victims.Load())
	for _, row := range query(t, "SELECT v, n FROM "+table) {
		if row[1] != fmt.Sprint(2*entries) {
			t.Errorf("%s was counted %s times, not %d", row[0], row[1], 2*entries)
		}
	}
}

func TestAProgressThatIsLostStopsTheSink(t *testing.T) {
	table, spec := plainInserts(t, manyRows)
	o := outboxOf(t, durableSink(t, spec), 1)
	for n := int64(1); n <= 2; n++ {
		if err := o.Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	execute(t, "DELETE FROM "+progressTable+" WHERE job = ?", jobOf(t))
	for range 3 { // with the same writer, then with new ones
		if err := o.Send(t.Context(), 3); beam.CodeOf(err) != beam.Rejected || !strings.Contains(err.Error(), "start the job anew") {
			t.Errorf("%v", err)
		}
	}
	o.Drop()
	once(t, table, 2)
}

func TestATableWithoutTransactionsIsWarnedOf(t *testing.T) {
	server(t)
	table := newTable(t, "id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(40)")
	execute(t, "ALTER TABLE "+table+" ENGINE=MyISAM")
	for name, warned := range map[string]bool{"fresnel.`" + table + "`": true, progressTable + "_like": false} {
		execute(t, "CREATE TABLE IF NOT EXISTS "+progressTable+"_like (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(40)) ENGINE=InnoDB")
		var log strings.Builder
		tr := writeTransform(t, writeSpec{connectSpec: connectTo(server(t)), Statement: "INSERT INTO " + name + " (v) VALUES (?)"}, oneField)
		tr.Durable = true
		s, err := newSink(tr, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		w, _, err := s.Open(t.Context(), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
		if got := strings.Contains(log.String(), "MyISAM"); got != warned {
			t.Errorf("%s: %q", name, log.String())
		}
	}
}

// TestPasswordsStayOutOfErrors fails in every way that is at hand.
func TestPasswordsStayOutOfErrors(t *testing.T) {
	m := server(t)
	const secret = "s3cr3t-word"
	table := newTable(t, "v VARCHAR(5)")
	base := writeSpec{connectSpec: connectTo(m), Statement: "INSERT INTO " + table + " VALUES (?)"}
	for name, change := range map[string]func(*writeSpec){
		"wrong password":       func(s *writeSpec) { s.Password = secret },
		"password in the URL":  func(s *writeSpec) { s.User = ""; s.URL = strings.Replace(s.URL, "//", "//u:"+secret+"@", 1) },
		"password as property": func(s *writeSpec) { s.User = ""; s.URL += "?user=u&password=" + secret },
		"unknown property":     func(s *writeSpec) { s.URL += "?trustStorePassword=" + secret + "&" + "colour=" + secret },
		"bad property":         func(s *writeSpec) { s.URL += "?sslMode=" + secret },
		"bad zone":             func(s *writeSpec) { s.URL += "?serverTimezone=" + secret },
		"bad port":             func(s *writeSpec) { s.URL = "jdbc:mysql://u:" + secret + "@host:x/db" },
		"bad scheme":           func(s *writeSpec) { s.URL = "jdbc:oracle://u:" + secret + "@host/db" },
		"no server":            func(s *writeSpec) { s.Password, s.URL = secret, "jdbc:mysql://127.0.0.1:1/db" },
		"init statement":       func(s *writeSpec) { s.Init = []string{"SET @key := '" + secret + "' nonsense"} },
		"bad guarantee":        func(s *writeSpec) { s.URL += "?" + guaranteeKey + "=" + secret },
	} {
		t.Run(name, func(t *testing.T) {
			spec := base
			change(&spec)
			var log strings.Builder
			tr := writeTransform(t, spec, oneField)
			tr.Durable = true
			s, err := New(slog.New(slog.NewTextHandler(&log, nil))).Sink(tr)
			if err == nil {
				var w connectors.Writer
				if w, _, err = s.Open(t.Context(), 0, 1); err == nil {
					_ = w.Close()
				}
				_ = s.Close()
			}
			if err == nil && name != "unknown property" {
				t.Error("there is no error")
			}
			if shown := fmt.Sprint(err) + log.String(); strings.Contains(shown, secret) || strings.Contains(shown, parts.MariaDBPassword) {
				t.Errorf("it shows: %s", shown)
			}
		})
	}
	_, err := newSink(connectors.Transform{URN: WriteURN, Payload: []byte(`{"password": "` + secret + ``)}, testLog(t))
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("%v", err)
	}
}
