package jobservice

import (
	"errors"
	"os"
	"path/filepath"
)

// jobDir is a job's place in the data directory. The lock of its job guards it.
type jobDir struct {
	path   string
	seal   *sealer
	record record
	log    *jobLog // nil once the job has ended
	broken bool    // the last write to the log failed
}

func (d *jobDir) recordPath() string { return filepath.Join(d.path, "record") }
func (d *jobDir) logPath() string    { return filepath.Join(d.path, "log") }
func (d *jobDir) statePath() string  { return filepath.Join(d.path, "state") }

// create makes the directory of a job that has told h so far. The record comes
// last: a directory without one is the rest of something.
func (d *jobDir) create(h *history) error {
	if err := ownerOnly(d.path); err != nil {
		return err
	}
	if err := d.newLog(h); err != nil {
		return err
	}
	if err := d.save(); err != nil || !d.record.Durable {
		return err
	}
	return syncFile(filepath.Dir(d.path))
}

func (d *jobDir) newLog(h *history) (err error) {
	d.log, err = createLog(d.logPath(), h, d.record.Durable)
	return err
}

// save writes the record.
func (d *jobDir) save() error {
	content, err := d.record.encode(d.seal)
	if err != nil {
		return err
	}
	return replaceFile(d.recordPath(), content, d.record.Durable)
}

// append adds to the log. States are on the disk when it returns, in a job that
// is to survive the server; messages follow with the next state, or when the
// system likes.
func (d *jobDir) append(payload []byte, state bool) error {
	if d.log == nil {
		return nil
	}
	err := d.log.append(payload, state && d.record.Durable)
	d.broken = err != nil
	return err
}

// end keeps of the job what can be shown of it.
func (d *jobDir) end(h *history) error {
	if d.log != nil && d.broken {
		// Without the last state the job would be run again: a second try.
		if err := d.newLog(h); err != nil {
			return err
		}
	}
	if d.record.Phase != phaseEnded {
		d.record.Phase = phaseEnded
		if err := d.save(); err != nil {
			return err
		}
	}
	err := os.RemoveAll(d.statePath())
	if d.log != nil {
		err = errors.Join(err, d.log.close())
	}
	d.log = nil
	return err
}

// remove forgets the job. Without its record the rest is rubbish, which the
// next start removes if this one cannot.
func (d *jobDir) remove() error {
	return errors.Join(os.Remove(d.recordPath()), os.RemoveAll(d.path))
}
