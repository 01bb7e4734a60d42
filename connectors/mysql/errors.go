package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	gomysql "github.com/go-sql-driver/mysql"

	"fresnel/internal/beam"
)

// Server errors that pass by themselves: locks, lost connections, limits of
// the moment, a server that stops or is a replica just now. (MySQL and MariaDB
// error reference, by number.)
var transient = []uint16{
	1021, 1037, 1038, 1041, 1114, // disk or memory is full
	1040, 1203, 1226, 1637, // too many connections or transactions
	1053, 1077, 1079, 1080, // shutdown
	1158, 1159, 1160, 1161, 1180, // network, commit
	1205, 1213, 1317, 1927, 3024, 3572, // lock wait, deadlock, killed
	1792, 1836, // read only
	2006, 2013, 4031, // gone away, lost, idle too long
}

// isTransient tells whether the same statement may work a little later.
func isTransient(err error) bool {
	var e *gomysql.MySQLError
	if !errors.As(err, &e) {
		return isLost(err)
	}
	state := string(e.SQLState[:])
	if e.Number == 1290 { // the server runs with an option; this one a failover sets
		return strings.Contains(e.Message, "read-only") || strings.Contains(e.Message, "read_only")
	}
	return slices.Contains(transient, e.Number) || strings.HasPrefix(state, "08") && e.Number != 1043 ||
		state == "40001" || state == "40P01"
}

// isLost tells whether the connection is gone, or was never there.
func isLost(err error) bool {
	var op net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, gomysql.ErrInvalidConn) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &op) || isUnwritten(err)
}

// isUnwritten tells that the driver could write nothing, which it names so, by an
// error that it keeps to itself, where the connection is cut in the handshake.
func isUnwritten(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if err.Error() == "bad connection" {
			return true
		}
	}
	return false
}

// explain makes a coded error of what a statement ended with; doing completes
// "cannot".
func (d *database) explain(err error, doing string) error {
	var coded *beam.Error
	if err == nil || errors.As(err, &coded) || errors.Is(err, context.Canceled) {
		return err
	}
	e := &beam.Error{Code: beam.Rejected, Where: d.name, Cause: err,
		What: fmt.Sprintf("cannot %s at %s", doing, d.target.name()), Cure: cureOf(err)}
	switch {
	case isTransient(err):
		e.Code, e.Cure = beam.Unavailable, "Fresnel tries again"
		if isLost(err) {
			e.Cure = "Fresnel tries again; check that the server runs and that the host and port of jdbc_url are right"
		}
	case errors.Is(err, gomysql.ErrNoTLS):
		e.Cure = "enable TLS on the server, or set sslMode=PREFERRED or DISABLED in jdbc_url"
	case errors.Is(err, gomysql.ErrPktTooLarge):
		e.Cure = "raise max_allowed_packet on the server"
	}
	return e
}

// cureOf says what to do about a refusal.
func cureOf(err error) string {
	var e *gomysql.MySQLError
	if !errors.As(err, &e) {
		return ""
	}
	switch e.Number {
	case 1045, 1698:
		return "check the user name and the password"
	case 1044, 1130, 1142, 1143, 1227, 1370:
		return "grant the right to the user"
	case 1049:
		return "create the database, or correct its name in jdbc_url"
	case 1129:
		return "run FLUSH HOSTS on the server"
	case 1146, 1051:
		return "create the table, or correct its name"
	case 1054, 1166:
		return "correct the name of the column in the statement, or add it to the table"
	case 1064, 1149:
		return "correct the statement"
	case 1136, 1058:
		return "name the columns in the statement, one for each value"
	case 1048, 1364:
		return "give the column a value in every row, or let it be NULL"
	case 1062, 1586:
		return "use INSERT ... ON DUPLICATE KEY UPDATE or REPLACE where a row may be there already"
	case 1264, 1265, 1292, 1366, 1406, 1411, 1690, 3819, 4025:
		return "make the column's type fit the value, or the value the column"
	case 1216, 1452:
		return "write the row that the foreign key refers to first"
	}
	return ""
}
