package cdn

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/go-sql-driver/mysql"
)

// Table is cdn_access_statistic in a MySQL database.
type Table struct {
	db   *sql.DB
	conf *mysql.Config
}

// CreateTable makes the table where it is not there yet. The database is one for
// github.com/go-sql-driver/mysql.
func CreateTable(ctx context.Context, dsn string) (*Table, error) {
	conf, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return nil, err
	}
	t := &Table{db: sql.OpenDB(connector), conf: conf}
	if _, err := t.db.ExecContext(ctx, Schema); err != nil {
		_ = t.db.Close()
		return nil, fmt.Errorf("create the table: %w", err)
	}
	return t, nil
}

// Options are those that lead pipeline.py to the table.
func (t *Table) Options() []string {
	options := []string{"--jdbc_url=jdbc:mysql://" + t.conf.Addr + "/" + t.conf.DBName}
	if t.conf.User != "" {
		options = append(options, "--username="+t.conf.User, "--password="+t.conf.Passwd)
	}
	return options
}

// Read returns what the table says.
func (t *Table) Read(ctx context.Context) (Totals, error) {
	rows, err := t.db.QueryContext(ctx, "SELECT province, access_count, total_download, download_speed FROM cdn_access_statistic")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := Totals{}
	for rows.Next() {
		var province string
		var s Statistic
		if err := rows.Scan(&province, &s.AccessCount, &s.TotalDownload, &s.DownloadSpeed); err != nil {
			return nil, err
		}
		all[province] = s
	}
	return all, rows.Err()
}

// Lines returns the sum of all counts.
func (t *Table) Lines(ctx context.Context) (int64, error) {
	var n sql.NullInt64
	err := t.db.QueryRowContext(ctx, "SELECT CAST(SUM(access_count) AS SIGNED) FROM cdn_access_statistic").Scan(&n)
	return n.Int64, err
}

// Clear empties the table.
func (t *Table) Clear(ctx context.Context) error {
	_, err := t.db.ExecContext(ctx, "DELETE FROM cdn_access_statistic")
	return err
}

// Close releases the connections.
func (t *Table) Close() error { return t.db.Close() }

// EmbeddedDSN names the database of examples/cdn/embedded.
func EmbeddedDSN(addr string) string { return "root@tcp(" + addr + ")/fresnel" }
