// Package mysql reads from and writes to MySQL and MariaDB, as Beam's JDBC
// transforms do.
//
// A write runs the user's statement for every row, each entry in one
// transaction over a connection of the shard's own. A read streams the rows of
// one query.
//
//	expander.go   what ReadFromJdbc, WriteToJdbc and the others become
//	url.go        JDBC URLs and their properties; session.go a connection
//	statement.go  which statements take many rows at once
//	writer.go     entries → transactions; progress.go exactly once
//	values.go     fields of rows → arguments; schema.go columns → fields
//	errors.go     what is tried again, what is refused, and what to do about it
//
// Passwords are never logged and never part of an error.
package mysql

import (
	"fmt"
	"log/slog"

	"fresnel/connectors"
	"fresnel/internal/beam"
)

// The URNs of the native transforms.
const (
	ReadURN  = "fresnel:transform:mysql_read:v1"
	WriteURN = "fresnel:transform:mysql_write:v1"
)

// Connector implements connectors.Connector and expansion.Expander.
type Connector struct {
	log *slog.Logger
}

// New returns the connector. It logs properties without effect, and tables that
// have no transactions.
func New(log *slog.Logger) *Connector { return &Connector{log: log} }

// URNs implements connectors.Connector.
func (c *Connector) URNs() []string { return []string{ReadURN, WriteURN} }

// Reads implements connectors.Connector.
func (c *Connector) Reads(urn string) bool { return urn == ReadURN }

// Sink implements connectors.Connector.
func (c *Connector) Sink(t connectors.Transform) (connectors.Sink, error) {
	if t.URN != WriteURN {
		return nil, wrongURN(t)
	}
	s, err := newSink(t, c.log)
	if err != nil {
		return nil, connectors.At(err, t.Name)
	}
	return s, nil
}

func wrongURN(t connectors.Transform) error {
	return &beam.Error{Code: beam.Internal, Where: t.Name, What: fmt.Sprintf("the MySQL connector does not run %q here", t.URN)}
}

// Source implements connectors.Connector.
func (c *Connector) Source(t connectors.Transform) (connectors.Source, error) {
	if t.URN != ReadURN {
		return nil, wrongURN(t)
	}
	s, err := newSource(t, c.log)
	if err != nil {
		return nil, connectors.At(err, t.Name)
	}
	return s, nil
}
