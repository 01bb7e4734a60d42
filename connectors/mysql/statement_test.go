package mysql

import (
	"reflect"
	"strings"
	"testing"
)

func TestStatementsThatTakeManyRows(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"INSERT INTO t VALUES (?)":                                        "INSERT INTO t VALUES (?),(?)",
		"insert into `a b`.t (x, `y`) values(?, 1.5, 'it''s', NULL, -3);": "insert into `a b`.t (x, `y`) values(?, 1.5, 'it''s', NULL, -3),(?, 1.5, 'it''s', NULL, -3)",
		"REPLACE t (a) VALUE (?)":                                         "REPLACE t (a) VALUE (?),(?)",
		"INSERT IGNORE INTO t VALUES (?, NOW())":                          "INSERT IGNORE INTO t VALUES (?, NOW()),(?, NOW())",
		"INSERT INTO t VALUES (?, ?)\n ON DUPLICATE KEY UPDATE n = n + VALUES(n), s = CONCAT(s, 'x')": "INSERT INTO t VALUES (?, ?),(?, ?) ON DUPLICATE KEY UPDATE n = n + VALUES(n), s = CONCAT(s, 'x')",
	} {
		m, ok := parseMultiRow(sql)
		if !ok {
			t.Errorf("%q is not understood", sql)
			continue
		}
		if got := m.text(2); got != want {
			t.Errorf("%q: got %q, want %q", sql, got, want)
		}
	}
}

func TestStatementsThatRunRowByRow(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"", "UPDATE t SET a = ?", "DELETE FROM t WHERE a = ?", "CALL p(?)", "SELECT ?",
		"INSERT INTO t SELECT ?", "INSERT INTO t SET a = ?", "INSERT DELAYED INTO t VALUES (?)",
		"INSERT INTO t VALUES (1)", "INSERT INTO t VALUES ()", "INSERT INTO t VALUES (?), (?)", "INSERT INTO t VALUES (?) ; DELETE FROM t",
		"INSERT INTO t VALUES (? + 1)", "INSERT INTO t VALUES (UUID(), ?)", "INSERT INTO t VALUES (?) RETURNING id", "INSERT INTO t VALUES (?) AS new",
		"INSERT INTO t VALUES (?) ON DUPLICATE KEY UPDATE a = ?", "INSERT INTO t VALUES (?) ON DUPLICATE KEY UPDATE a = (SELECT 1)",
		"INSERT INTO t VALUES (?) ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id)", "INSERT INTO t VALUES (?) ON DUPLICATE KEY UPDATE a = @x",
		"INSERT INTO t VALUES (?, '?')", `INSERT INTO t VALUES (?, 'a\'b')`, `INSERT INTO t VALUES (?, "x")`, "INSERT INTO t VALUES (?) -- c",
		"INSERT /* c */ INTO t VALUES (?)", "INSERT INTO t VALUES (?, 'x", "INSERT INTO t PARTITION (p) VALUES (?)", "INSERT INTO t VALUES (?) ON DUPLICATE KEY UPDATE",
		"WITH x AS (SELECT 1) INSERT INTO t VALUES (?)", "INSERT INTO t VALUES ROW(?)", "INSERT INTO t VALUES (?) ON DUPLICATE KEY UPDATE a = 1 # ?",
	} {
		if m, ok := parseMultiRow(sql); ok {
			t.Errorf("%q is taken for %+v", sql, m)
		}
	}
}

// FuzzStatement checks that what the parser takes is put together from the
// statement's own text, with a placeholder for a placeholder.
func FuzzStatement(f *testing.F) {
	f.Add("INSERT INTO t (a, b) VALUES (?, ?, 'x') ON DUPLICATE KEY UPDATE a = VALUES(a);")
	f.Add("REPLACE INTO `a`.`b` VALUES(?,-1,NULL)")
	f.Fuzz(func(t *testing.T, sql string) {
		m, ok := parseMultiRow(sql)
		if !ok {
			return
		}
		if m.perRow != strings.Count(sql, "?") || strings.Count(m.text(3), "?") != 3*m.perRow {
			t.Errorf("%q: %d placeholders in %+v", sql, strings.Count(sql, "?"), m)
		}
		again, ok := parseMultiRow(m.text(1))
		if !ok || !reflect.DeepEqual(again, m) {
			t.Errorf("%q: %+v, then %+v", sql, m, again)
		}
	})
}
