package runner

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"fresnel/jobservice"
	"fresnel/runner/store"
)

// keptState is the state of the job of newWorld, as a version of Fresnel left it
// that wrote format 1; what is in it is beside it. It is written by
//
//	FRESNEL_WRITE_STATE=1 go test ./runner -run StateThatWasKept
//
// which is to be done for another format only, in another directory: the ones
// before stay for as long as they are read.
const keptState = "testdata/state-1"

// TestStateThatWasKeptIsRead: what a version before has written is read, and is
// what it was.
func TestStateThatWasKeptIsRead(t *testing.T) {
	w := newWorld(t)
	if os.Getenv("FRESNEL_WRITE_STATE") != "" {
		w.keepState()
	}
	want, err := os.ReadFile(filepath.Join(keptState, "inspection.json"))
	if err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	files, err := filepath.Glob(filepath.Join(keptState, "store", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, fs, "kept/store/"+filepath.Base(path), data)
	}
	if got := w.inspectKept(fs); got != string(want) {
		t.Errorf("the state is\n%s\nand was\n%s", got, want)
	}
}

// inspectKept looks at a state as at that of this plan, which another version may
// write in other words.
func (w *world) inspectKept(fs *vfs.MemFS) (text string) {
	w.r.runner.fs = fs
	_ = w.r.launch(w.pipe(), func(_ *jobRun, _ context.Context, s *jobservice.Submission) error {
		s.ID, s.Dir, s.Epoch, s.Resumed = "kept", "kept", 2, true
		plan, err := w.r.runner.plan(s)
		if err != nil {
			return err
		}
		adopt(w.r.t, fs, plan.String())
		in, err := w.r.runner.Inspect(s)
		if err != nil {
			return err
		}
		text = inspectionText(w.r.t, in)
		return nil
	}).end()
	return text
}

// adopt writes another plan's text into a state.
func adopt(t *testing.T, fs vfs.FS, plan string) {
	d, err := store.OpenDisk("kept/store", store.DiskOptions{FS: fs})
	if err != nil {
		t.Error(err)
		return
	}
	defer d.Close()
	sum := sha256.Sum256([]byte(plan))
	var b store.Batch
	err = d.Notes(notePlan, notePlan+"\xff", func(_ string, row []byte) error {
		f := fields{b: row}
		f.bytes()
		b.Note(notePlan, append(appendField(nil, sum[:]), f.b...))
		return nil
	})
	if err := errors.Join(err, d.Apply(&b)); err != nil {
		t.Error(err)
	}
}

func inspectionText(t *testing.T, in *Inspection) string {
	in.DiskBytes = 0 // which compactions change
	text, err := json.MarshalIndent(in, "", " ")
	if err != nil {
		t.Error(err)
	}
	return string(text) + "\n"
}

// midst runs the job until it is cut off with something of everything on disk.
func (w *world) midst() {
	w.whole.blocks = func() {} // its entries stay in the outbox
	dir := w.r.t.TempDir()
	for epoch, missing := int64(1), []string{""}; len(missing) > 0; epoch++ {
		w.run(dir, epoch, 500*time.Millisecond)
		missing = w.unseen()
	}
}

// keepState writes keptState anew.
func (w *world) keepState() {
	t := w.r.t
	w.midst()
	in, err := w.r.runner.Inspect(w.last)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(keptState, "store")
	if err := errors.Join(os.RemoveAll(keptState), os.MkdirAll(dir, 0o755),
		os.WriteFile(filepath.Join(keptState, "inspection.json"), []byte(inspectionText(t, in)), 0o644)); err != nil {
		t.Fatal(err)
	}
	for name, data := range w.files() {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// files are those of the job's store.
func (w *world) files() map[string][]byte {
	t, all := w.r.t, map[string][]byte{}
	dir := filepath.Join(w.last.Dir, "store")
	names, err := w.disk.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := w.disk.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		all[name] = data
	}
	return all
}

func writeFile(t *testing.T, fs vfs.FS, path string, data []byte) {
	t.Helper()
	err := fs.MkdirAll(filepath.Dir(path), 0o700)
	f, err2 := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedStateIsTold: whatever happens to a byte of a file, or to its end,
// looking at the state ends: it says what is wrong, or shows what is there.
func TestDamagedStateIsTold(t *testing.T) {
	w := newWorld(t)
	w.midst()
	r := rand.New(rand.NewPCG(6, 6))
	files, told := w.files(), 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		for n := range 8 {
			fs, what := vfs.NewMem(), ""
			for other, data := range files {
				if other == name && n == 7 {
					what = "the whole"
					continue
				}
				if other == name {
					data, what = damaged(data, n, r)
				}
				writeFile(t, fs, filepath.Join(w.last.Dir, "store", other), data)
			}
			w.r.runner.fs = fs
			_, err := w.r.runner.Inspect(w.last)
			t.Logf("%s of %s: %v", what, name, err)
			if err != nil {
				told++
			}
			if err != nil && strings.Contains(err.Error(), "panic") {
				t.Errorf("%s of %s: %v", what, name, err)
			}
		}
	}
	if told == 0 {
		t.Error("no damage was told")
	}
}

// damaged is data with a byte changed, or without its end, and what was done.
func damaged(data []byte, n int, r *rand.Rand) (_ []byte, what string) {
	at := r.IntN(max(len(data), 1))
	if n%4 == 0 || len(data) == 0 {
		return data[:min(at, len(data))], fmt.Sprintf("all from byte %d", at)
	}
	data = slices.Clone(data)
	data[at] ^= 1 << r.IntN(8)
	return data, fmt.Sprintf("byte %d", at)
}
