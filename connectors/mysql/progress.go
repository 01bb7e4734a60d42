package mysql

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	gomysql "github.com/go-sql-driver/mysql"

	"fresnel/internal/beam"
)

// A durable sink keeps its progress in a table of the user's database: for
// each shard the number of the last entry that is there, changed in the
// transaction that writes the entry, and the epoch of the shard's owner.
//
//	job, sink  whose it is; shard
//	n          the last entry's number, 0 for none
//	epoch      of the owner; a writer with an older one is fenced
//
// The row is locked first in every transaction. So when the outcome of an
// entry is unknown, or its owner may have been replaced, the row tells. An owner
// that hangs within a transaction keeps the row locked: the server ends a
// session that is silent for ownerSilence, and its transaction with it.
const progressTable = "fresnel_progress"

const createProgress = "CREATE TABLE IF NOT EXISTS " + progressTable + ` (
	id CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY COMMENT 'SHA-256 of job, sink and shard',
	job TEXT CHARACTER SET utf8mb4 NOT NULL,
	sink TEXT CHARACTER SET utf8mb4 NOT NULL,
	shard INT NOT NULL,
	n BIGINT NOT NULL,
	epoch BIGINT NOT NULL,
	changed TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
) ENGINE=InnoDB`

// progressKey names a shard of a sink.
type progressKey struct {
	job, sink string
	shard     int
}

func (k progressKey) id() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d", k.job, k.sink, k.shard))
	return hex.EncodeToString(sum[:])
}

// progress is a shard's row.
type progress struct {
	key progressKey
	id  string
}

// denied are the answers to a user who may not create or write the table.
var denied = []uint16{1044, 1142, 1143, 1227}

// ownerSilence is the wait_timeout of a durable sink's sessions. A session that
// was unused for half of it is opened anew before an entry.
const ownerSilence = 30 * time.Second

// claim takes a shard for the owner of epoch and returns the last entry that is
// there.
func (s *session) claim(ctx context.Context, key progressKey, epoch int64) (*progress, int64, error) {
	p := &progress{key: key, id: key.id()}
	last, err := s.tryClaim(ctx, p, epoch)
	var e *gomysql.MySQLError
	if errors.As(err, &e) && e.Number == 1146 {
		if err = s.exec(ctx, createProgress); err == nil {
			last, err = s.tryClaim(ctx, p, epoch)
		}
	}
	if errors.As(err, &e) && slices.Contains(denied, e.Number) {
		return nil, 0, &beam.Error{Code: beam.Rejected, Where: s.db.name, Cause: err,
			What: fmt.Sprintf("the user may not keep the sink's progress in the table %s of %s", progressTable, s.db.target.name()),
			Cure: fmt.Sprintf("grant CREATE, SELECT, INSERT and UPDATE on it to the user, or set %s=%s in jdbc_url or connection_properties: "+
				"then rows can be written twice after a crash", guaranteeKey, atLeastOnce)}
	}
	return p, last, s.db.explain(err, "keep progress in "+progressTable)
}

func (s *session) tryClaim(ctx context.Context, p *progress, epoch int64) (int64, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	err := s.exec(ctx, "INSERT INTO "+progressTable+" (id, job, sink, shard, n, epoch) VALUES (?,?,?,?,0,?) "+
		"ON DUPLICATE KEY UPDATE epoch = GREATEST(epoch, ?)",
		p.id, p.key.job, p.key.sink, int64(p.key.shard), epoch, epoch)
	if err != nil {
		return 0, errors.Join(err, s.rollback(ctx))
	}
	last, err := s.owned(ctx, p, epoch)
	if err != nil {
		return 0, errors.Join(err, s.rollback(ctx))
	}
	return last, s.commit(ctx)
}

// owned returns the last entry's number and locks the row, if it is still ours.
func (s *session) owned(ctx context.Context, p *progress, epoch int64) (int64, error) {
	row, err := s.row(ctx, "SELECT n, epoch FROM "+progressTable+" WHERE id = ? FOR UPDATE", p.id)
	if isEmpty(err) {
		return 0, &beam.Error{Code: beam.Rejected, Where: s.db.name, What: "the sink's row in " + progressTable + " is gone",
			Cure: "start the job anew if what was written may be written again"}
	}
	if err != nil {
		return 0, err
	}
	n, epochThere, err := twoNumbers(row)
	switch {
	case err != nil:
		return 0, err
	case epochThere > epoch:
		return 0, &beam.Error{Code: beam.Rejected, Where: s.db.name,
			What: fmt.Sprintf("shard %d belongs to a newer owner (epoch %d, ours is %d)", p.key.shard, epochThere, epoch),
			Cure: "the job runs elsewhere: stop one of the two"}
	}
	return n, nil
}

func twoNumbers(row []driver.Value) (a, b int64, err error) {
	_, err = fmt.Sscan(text(row[0])+" "+text(row[1]), &a, &b)
	return a, b, err
}

// advance takes entry n into the transaction; there tells that it is written
// already.
func (s *session) advance(ctx context.Context, p *progress, epoch, n int64) (there bool, err error) {
	last, err := s.owned(ctx, p, epoch)
	switch {
	case err != nil:
		return false, err
	case last >= n:
		return true, nil
	case last != n-1:
		return false, &beam.Error{Code: beam.Rejected, Where: s.db.name,
			What: fmt.Sprintf("the progress of shard %d in %s says entry %d, but entry %d was written", p.key.shard, progressTable, last, n-1),
			Cure: "the progress was removed, changed or restored from a backup: start the job anew, from where its results are"}
	}
	return false, s.exec(ctx, "UPDATE "+progressTable+" SET n = ? WHERE id = ?", n, p.id)
}
