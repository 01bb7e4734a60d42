package parts

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// The account and the database that every MariaDB part has. The account may do everything, so that a test can
// make other databases and accounts.
const (
	MariaDBUser     = "fresnel"
	MariaDBPassword = "fresnel-password"
	MariaDBDatabase = "fresnel"
)

// MariaDB is a MariaDB server with an empty database.
type MariaDB struct {
	process
	addr string
}

// StartMariaDB runs a server until the test ends. Settings are further arguments of mariadbd.
func StartMariaDB(t testing.TB, settings ...string) *MariaDB {
	t.Helper()
	dir, log := home(t, "mariadb")
	m, err := LaunchMariaDB(dir, log, settings...)
	if err != nil {
		t.Fatal(err)
	}
	m.endWith(t)
	return m
}

// LaunchMariaDB makes a new data directory under dir and starts a server on it. The caller ends it with Stop or
// Kill.
func LaunchMariaDB(dir, log string, settings ...string) (*MariaDB, error) {
	server, err := serverBinary()
	if err != nil {
		return nil, err
	}
	if err := installDB(filepath.Join(dir, "data")); err != nil {
		return nil, err
	}
	init := filepath.Join(dir, "init.sql")
	if err := os.WriteFile(init, []byte(initSQL), 0o644); err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	m := &MariaDB{addr: addr}
	_, port, _ := net.SplitHostPort(addr)
	m.process = process{
		name: "MariaDB",
		argv: append([]string{
			server, "--no-defaults", "--bind-address=127.0.0.1", "--port=" + port,
			"--datadir=" + filepath.Join(dir, "data"), "--socket=" + filepath.Join(dir, "sock"),
			"--pid-file=" + filepath.Join(dir, "pid"), "--init-file=" + init,
			"--innodb-buffer-pool-size=128M", "--innodb-log-file-size=32M",
			"--character-set-server=utf8mb4", "--skip-name-resolve", "--user=" + osUser(),
		}, settings...),
		log:   log,
		ready: m.answers,
	}
	return m, m.start()
}

// Addr is HOST:PORT.
func (m *MariaDB) Addr() string { return m.addr }

// DSN is the data source name for github.com/go-sql-driver/mysql.
func (m *MariaDB) DSN() string {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = MariaDBUser, MariaDBPassword, MariaDBDatabase
	cfg.Net, cfg.Addr = "tcp", m.addr
	return cfg.FormatDSN()
}

// JDBCURL is the address as Beam's ReadFromJdbc and WriteToJdbc want it, without the account.
func (m *MariaDB) JDBCURL() string {
	return "jdbc:mysql://" + m.addr + "/" + MariaDBDatabase
}

// DB is a connection pool that is closed when the test ends.
func (m *MariaDB) DB(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", m.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (m *MariaDB) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := net.DialTimeout("tcp", m.addr, time.Second)
	if err != nil {
		return err // the driver would log it
	}
	_ = conn.Close()
	db, err := sql.Open("mysql", m.DSN())
	if err != nil {
		return err
	}
	defer db.Close()
	return db.PingContext(ctx)
}

// initSQL runs at every start, before the server takes connections.
const initSQL = `CREATE DATABASE IF NOT EXISTS ` + MariaDBDatabase + `;
CREATE USER IF NOT EXISTS '` + MariaDBUser + `'@'%' IDENTIFIED BY '` + MariaDBPassword + `';
GRANT ALL PRIVILEGES ON *.* TO '` + MariaDBUser + `'@'%' WITH GRANT OPTION;
`

func installDB(data string) error {
	install := exec.Command("mariadb-install-db", "--no-defaults", "--datadir="+data, "--user="+osUser(),
		"--skip-test-db", "--auth-root-authentication-method=normal", "--skip-name-resolve",
		"--innodb-log-file-size=32M", "--innodb-flush-log-at-trx-commit=0")
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
	}
	return nil
}

// osUser is the account that the server runs as: the test's own. Only root must be named, or mariadbd refuses.
func osUser() string {
	if os.Getuid() == 0 {
		return "root"
	}
	return os.Getenv("USER")
}

// serverBinary looks in /usr/sbin too, where Debian puts the server and few accounts have their PATH.
func serverBinary() (string, error) {
	for _, name := range []string{"mariadbd", "/usr/sbin/mariadbd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no mariadbd on this machine: run `make parts` as root, or install mariadb-server")
}
