package cdn_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"fresnel/integration/cdn/rig"

	_ "github.com/go-sql-driver/mysql"
)

// TestTheDemosDatabaseKeepsWhatConnectionsCommitAtOnce: the library that it is made of
// does not.
func TestTheDemosDatabaseKeepsWhatConnectionsCommitAtOnce(t *testing.T) {
	t.Parallel()
	db := openEmbedded(t)
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT)"); err != nil {
		t.Fatal(err)
	}
	const writers, rounds, rows = 4, 20, 9
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for round := range rounds {
				if err := writeRows(t, db, w*rows, rows, round); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	var count, sum int
	if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*), SUM(v) FROM t").Scan(&count, &sum); err != nil {
		t.Fatal(err)
	}
	if want := writers * rows; count != want || sum != want*(rounds-1) {
		t.Errorf("%d rows with a sum of %d, want %d and %d", count, sum, want, want*(rounds-1))
	}
}

// writeRows upserts rows in a transaction, with a statement each.
func writeRows(t *testing.T, db *sql.DB, from, n, value int) error {
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		return err
	}
	for k := from; k < from+n; k++ {
		if _, err := tx.ExecContext(t.Context(), "INSERT INTO t VALUES (?, ?) ON DUPLICATE KEY UPDATE v = VALUES(v)", k, value); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// openEmbedded starts the demo's parts, until the test ends, and opens the database.
func openEmbedded(t *testing.T) *sql.DB {
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	parts := exec.CommandContext(t.Context(), filepath.Join(root, "bin", "embedded"))
	stdin, err := parts.StdinPipe() // it ends when this does
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := parts.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parts.Start(); err != nil {
		t.Fatalf("%v: run `make modules`", err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = parts.Wait()
	})
	var addresses struct{ MySQL string }
	if err := json.NewDecoder(stdout).Decode(&addresses); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("mysql", fmt.Sprintf("root@tcp(%s)/fresnel", addresses.MySQL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}
