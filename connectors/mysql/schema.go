package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// inferSchema finds the fields of a query's rows, when a read is expanded: the
// server is asked for the query's columns and no rows.
func (s *session) inferSchema(ctx context.Context, query string) ([]coder.Field, error) {
	columns, err := s.columns(ctx, query)
	if err != nil {
		return nil, s.db.explain(err, "run the query "+shorten(query))
	}
	narrow := s.narrowTypes(ctx, query)
	fields := make([]coder.Field, len(columns))
	for i, c := range columns {
		t, ok := fieldType(c.databaseType)
		if !ok {
			return nil, &beam.Error{Code: beam.Unsupported, Where: s.db.name,
				What: fmt.Sprintf("the column %s has the type %s", c.name, c.databaseType), Cure: "select it with CAST(... AS CHAR)"}
		}
		if s.db.target.tinyBool && narrow[strings.ToLower(c.name)] {
			t = coder.Atomic(coder.TypeBoolean)
		}
		if c.nullable {
			t = t.OrNull()
		}
		fields[i] = coder.Field{Name: c.name, Type: t}
	}
	return fields, nil
}

// column is what the server tells of a query's column.
type column struct {
	name, databaseType string
	nullable           bool
}

// describedRows is what the driver's rows tell of their columns.
type describedRows interface {
	driver.Rows
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeNullable
}

// columns runs the query with a limit of no rows. Where the query has a limit
// of its own, that one counts; closing the session then ends it.
func (s *session) columns(ctx context.Context, query string) ([]column, error) {
	if err := s.exec(ctx, "SET SESSION sql_select_limit = 0"); err != nil {
		return nil, err
	}
	rows, err := s.conn.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	described, ok := rows.(describedRows)
	if !ok {
		return nil, fmt.Errorf("rows of type %T", rows)
	}
	var out []column
	for i, name := range rows.Columns() {
		nullable, _ := described.ColumnTypeNullable(i)
		out = append(out, column{name, described.ColumnTypeDatabaseTypeName(i), nullable})
	}
	if err := rows.Close(); err != nil {
		return nil, err
	}
	return out, s.exec(ctx, "SET SESSION sql_select_limit = DEFAULT")
}

// fieldType maps a column's type to one that Python's schemas have.
func fieldType(databaseType string) (coder.FieldType, bool) {
	switch databaseType {
	case "TINYINT", "UNSIGNED TINYINT", "SMALLINT", "YEAR":
		return coder.Atomic(coder.TypeInt16), true
	case "UNSIGNED SMALLINT", "MEDIUMINT", "UNSIGNED MEDIUMINT", "INT":
		return coder.Atomic(coder.TypeInt32), true
	case "UNSIGNED INT", "BIGINT":
		return coder.Atomic(coder.TypeInt64), true
	case "DECIMAL", "UNSIGNED BIGINT":
		return coder.DecimalType(), true
	case "FLOAT":
		return coder.Atomic(coder.TypeFloat), true
	case "DOUBLE":
		return coder.Atomic(coder.TypeDouble), true
	case "CHAR", "VARCHAR", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT", "ENUM", "SET", "JSON", "TIME", "NULL":
		return coder.Atomic(coder.TypeString), true
	case "BINARY", "VARBINARY", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB", "BIT", "GEOMETRY", "VECTOR":
		return coder.Atomic(coder.TypeBytes), true
	case "DATE":
		return coder.DateType(), true
	case "DATETIME", "TIMESTAMP":
		return coder.MicrosInstant(), true
	}
	return coder.FieldType{}, false
}

// narrowTypes returns the columns, by lower-case name, that are TINYINT(1) or
// BIT(1) in the tables that the query names: what the drivers of Java read as
// booleans. The protocol's column lengths would tell, but Go's driver does not.
func (s *session) narrowTypes(ctx context.Context, query string) map[string]bool {
	narrow := map[string]bool{}
	for _, table := range tablesOf(query) {
		rows, err := s.rows(ctx, "SHOW COLUMNS FROM "+table)
		if err != nil {
			continue // not a table after all
		}
		for _, r := range rows {
			name, kind := strings.ToLower(text(r[0])), strings.ToLower(text(r[1]))
			isNarrow := strings.HasPrefix(kind, "tinyint(1)") || kind == "bit(1)"
			before, seen := narrow[name]
			narrow[name] = isNarrow && (!seen || before)
		}
	}
	return narrow
}

// tablesOf returns the names that follow FROM and JOIN.
func tablesOf(query string) []string {
	tokens, ok := scanSQL(query)
	if !ok {
		return nil
	}
	p := &parser{sql: query, tokens: tokens}
	var tables []string
	for p.at < len(p.tokens) {
		if !p.word("FROM", "JOIN") {
			p.at++
			continue
		}
		start := p.peek().start
		if p.table() {
			tables = append(tables, query[start:p.tokens[p.at-1].end])
		}
	}
	return tables
}

// rows returns all rows of a small query.
func (s *session) rows(ctx context.Context, sql string) ([][]driver.Value, error) {
	rows, err := s.conn.QueryContext(ctx, sql, nil)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out [][]driver.Value
	for {
		row := make([]driver.Value, len(rows.Columns()))
		if err := rows.Next(row); err != nil {
			if isEmpty(err) {
				return out, nil
			}
			return nil, err
		}
		for i, v := range row {
			row[i] = text(v) // not the driver's buffer
		}
		out = append(out, row)
	}
}

// shorten cuts a statement for messages.
func shorten(sql string) string {
	const most = 200
	if len(sql) <= most {
		return fmt.Sprintf("%q", sql)
	}
	return fmt.Sprintf("%q...", sql[:most])
}
