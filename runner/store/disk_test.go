package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func openDisk(t *testing.T, fs vfs.FS) *Disk {
	t.Helper()
	d, err := OpenDisk("store", DiskOptions{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func sync1(t *testing.T, d *Disk) {
	t.Helper()
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
}

func notes(t *testing.T, d *Disk, from, to string) string {
	t.Helper()
	var s string
	if err := d.Notes(from, to, func(k string, v []byte) error { s += fmt.Sprintf("%s=%s ", k, v); return nil }); err != nil {
		t.Fatal(err)
	}
	return s
}

// crash is the file system after the machine stopped: what was not synced is
// there in part.
func crash(fs *vfs.MemFS, r *rand.Rand, percent int) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: r})
}

func TestADiskStoreComesBack(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	d := openDisk(t, fs)
	kept, freed := d.AddBlock([]byte("kept")), d.AddBlock([]byte("freed"))
	apply(t, d, func(b *Batch) {
		b.Put("a", []byte("1"))
		b.Put("b", []byte("2"))
		b.Note("x", []byte("3"))
		b.Note("y1", []byte("4"))
		b.Note("y2", []byte("5"))
		b.Free(freed)
		b.Release(kept)
	})
	apply(t, d, func(b *Batch) { b.Delete("b"); b.UnnoteRange("y", "z"); b.Note("y3", []byte("6")) })
	if got := d.BlockBytes(); got != 0 {
		t.Errorf("%d bytes of blocks are in memory", got)
	}
	sync1(t, d)
	d = openDisk(t, crash(fs, nil, 0))
	if got := entries(d.Entries(), "", "z"); got != "a=1 " {
		t.Errorf("entries %q", got)
	}
	if got := notes(t, d, "", ""); got != "x=3 y3=6 " {
		t.Errorf("notes %q", got)
	}
	if got := notes(t, d, "y", "z"); got != "y3=6 " {
		t.Errorf("a range of notes %q", got)
	}
	if string(d.Block(kept)) != "kept" || d.Block(freed) != nil {
		t.Errorf("blocks %q and %q", d.Block(kept), d.Block(freed))
	}
	if id := d.AddBlock(nil); id <= kept {
		t.Errorf("block %d was given out again after %d", id, kept)
	}
}

func TestBlocksThatNobodyRefersToAreRemoved(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	d := openDisk(t, fs)
	a, b := d.AddBlock([]byte("a")), d.AddBlock([]byte("b"))
	sync1(t, d)
	d = openDisk(t, crash(fs, nil, 0))
	if err := d.KeepBlocks(func(id uint64) bool { return id == a }); err != nil {
		t.Fatal(err)
	}
	if string(d.Block(a)) != "a" || d.Block(b) != nil {
		t.Errorf("blocks %q and %q", d.Block(a), d.Block(b))
	}
}

// TestACrashLeavesAPrefix (I2, I3): whatever of the unsynced log reached the
// disk, what is there is what some first batches made, at least those before the
// last sync, and each of them whole, with the blocks that it refers to.
func TestACrashLeavesAPrefix(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewCrashableMem()
		d := openDisk(t, fs)
		synced, n := 0, 20+r.IntN(200)
		for i := 1; i <= n; i++ {
			id := d.AddBlock([]byte(strings.Repeat("x", r.IntN(3000))))
			apply(t, d, func(b *Batch) {
				b.Put("first", fmt.Appendf(nil, "%d", i))
				b.Note("block", fmt.Appendf(nil, "%d", id))
				b.Put(fmt.Sprintf("k%d", r.IntN(20)), fmt.Appendf(nil, "%d", i))
				b.Note("last", fmt.Appendf(nil, "%d", i))
			})
			if r.IntN(30) == 0 {
				sync1(t, d)
				synced = i
			}
		}
		after := openDisk(t, crash(fs, r, r.IntN(101)))
		checkPrefix(t, after, synced, n)
	}
}

func checkPrefix(t *testing.T, d *Disk, synced, n int) {
	t.Helper()
	var got, id int
	first, _ := d.Entries().Get("first")
	_, _ = fmt.Sscan(string(first), &got) // 0 if there is none
	if got < synced || got > n {
		t.Errorf("batch %d is the last, of %d, %d of them synced", got, n, synced)
	}
	if got == 0 {
		return
	}
	all := notes(t, d, "", "")
	if _, err := fmt.Sscanf(all, "block=%d", &id); err != nil || !strings.HasSuffix(all, fmt.Sprintf("last=%d ", got)) {
		t.Errorf("batch %d is not whole: notes %q", got, all)
	}
	if d.Block(uint64(id)) == nil {
		t.Errorf("batch %d refers to block %d, which is not there", got, id)
	}
}

func TestAStoreOfAnotherFormatIsRefused(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	d := openDisk(t, fs)
	if err := d.db.Set([]byte{diskVersion}, []byte{99}, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := OpenDisk("store", DiskOptions{FS: fs}); !errors.Is(err, ErrFormat) {
		t.Errorf("opening format 99 gives %v", err)
	}
}

// TestAFullDiskIsWaitedFor: writers go on when there is room.
func TestAFullDiskIsWaitedFor(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	full, asked := false, 0
	var told atomic.Int32
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if full && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	})
	d, err := OpenDisk("store", DiskOptions{FS: errorfs.Wrap(vfs.NewMem(), inject), Full: func() bool {
		mu.Lock()
		defer mu.Unlock()
		asked++
		full = asked < 3
		return true
	}, Room: func() { told.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	mu.Lock()
	full = true
	mu.Unlock()
	apply(t, d, func(b *Batch) { b.Put("a", []byte("1")) })
	sync1(t, d)
	if asked != 3 || told.Load() != 1 {
		t.Errorf("asked %d times for room, told %d times that there is", asked, told.Load())
	}
}

// TestADiskThatFailsFailsTheStore: no write is lost silently.
func TestADiskThatFailsFailsTheStore(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	broken := false
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if broken && op.Kind == errorfs.OpFileSyncData || broken && op.Kind == errorfs.OpFileSync {
			return errors.New("input/output error")
		}
		return nil
	})
	d, err := OpenDisk("store", DiskOptions{FS: errorfs.Wrap(vfs.NewMem(), inject)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	mu.Lock()
	broken = true
	mu.Unlock()
	apply(t, d, func(b *Batch) { b.Put("a", []byte("1")) })
	if err := d.Sync(); err == nil {
		t.Fatal("a sync that failed was not told")
	}
	var b Batch
	if err := d.Apply(&b); err == nil {
		t.Error("a batch was taken after the disk had failed")
	}
}

// faults fails operations on files whose names have a part, once it is on.
type faults struct {
	part string
	with error
	on   atomic.Bool
	// syncs tells that a sync fails, too.
	syncs bool
}

func (f *faults) MaybeError(op errorfs.Op) error {
	if !f.on.Load() || !strings.Contains(op.Path, f.part) || op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		if !f.syncs {
			return nil
		}
	}
	return f.with
}

func (f *faults) String() string { return f.part }

// TestAFaultInTheBackgroundFailsTheStoreOnly: a table or a manifest that cannot be
// written does not end the process, writers learn of it, and what is on the disk
// stays as it is.
func TestAFaultInTheBackgroundFailsTheStoreOnly(t *testing.T) {
	t.Parallel()
	for _, f := range []*faults{
		{part: ".sst", syncs: true, with: syscall.EIO},
		{part: "MANIFEST", syncs: true, with: syscall.EIO},
		{part: ".log", syncs: true, with: syscall.EIO},
		{part: "", syncs: true, with: syscall.EIO},
		{part: ".sst", syncs: true, with: syscall.ENOSPC},
		{part: "MANIFEST", syncs: true, with: syscall.ENOSPC},
		{part: ".log", syncs: true, with: syscall.ENOSPC},
		{part: "", syncs: true, with: syscall.ENOSPC},
	} {
		t.Run(fmt.Sprintf("%v on %q", f.with, f.part), func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			d, err := OpenDisk("store", DiskOptions{FS: errorfs.Wrap(fs, f), Full: func() bool { return false }})
			if err != nil {
				t.Fatal(err)
			}
			apply(t, d, func(b *Batch) { b.Put("a", []byte("1")) })
			useLogsAgain(t, d)
			f.on.Store(true)
			if err := fill(d, 400); !errors.Is(err, f.with) && (err == nil || !strings.Contains(err.Error(), f.with.Error())) {
				t.Fatalf("writers were told: %v", err)
			}
			f.on.Store(false)
			if err := d.Sync(); err == nil {
				t.Error("a store that has failed goes on")
			}
			d.Close()
			if v, ok := openDisk(t, crash(fs, rand.New(rand.NewPCG(1, 1)), 100)).Entries().Get("a"); !ok || string(v) != "1" {
				t.Errorf("what was there before is %q, %v", v, ok)
			}
		})
	}
}

// useLogsAgain brings a tree to where it has old logs to write over.
func useLogsAgain(t *testing.T, d *Disk) {
	t.Helper()
	if err := errors.Join(fill(d, 40), d.db.Flush(), d.Sync()); err != nil {
		t.Fatal(err)
	}
}

// fill writes and syncs until that fails, n MB at most. Who calls it in many tests
// does so in one after another: files in memory are copied as they grow.
func fill(d *Disk, n int) error {
	r := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 1<<20) // does not compress
	for at := 0; at < len(value); at += 8 {
		binary.LittleEndian.PutUint64(value[at:], r.Uint64())
	}
	for i := range n {
		var b Batch
		b.Put(fmt.Sprintf("k%d", i), append([]byte(nil), value...))
		err := d.Apply(&b)
		if i%8 == 7 { // each copies the whole log, in memory
			err = errors.Join(err, d.Sync())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestWhoWaitsForAFullDiskIsLetGo: a job that is cancelled while its disk is full
// ends, however much waits to be written.
func TestWhoWaitsForAFullDiskIsLetGo(t *testing.T) {
	t.Parallel()
	for _, part := range []string{".sst", ".log", ""} {
		t.Run(part, func(t *testing.T) {
			f := &faults{part: part, with: syscall.ENOSPC}
			asked, cancelled := make(chan struct{}, 100), make(chan struct{})
			d, err := OpenDisk("store", DiskOptions{FS: errorfs.Wrap(vfs.NewMem(), f), Full: func() bool {
				asked <- struct{}{}
				<-cancelled
				return false
			}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(d.Close)
			useLogsAgain(t, d)
			f.on.Store(true)
			ends := make(chan error, 2)
			go func() { ends <- fill(d, 400) }()
			go func() {
				for i := 0; d.failed() == nil; i++ {
					if i < 100 { // enough, and the file system is memory
						d.AddBlock(make([]byte, 1<<20))
					}
					time.Sleep(time.Millisecond)
				}
				ends <- d.failed()
			}()
			select {
			case <-asked:
			case err := <-ends:
				t.Fatalf("a writer did not wait: %v; failed %v", err, d.failed())
			}
			close(cancelled)
			for range 2 {
				if err := <-ends; err == nil {
					t.Error("a writer was not told")
				}
			}
		})
	}
}

// TestMissingFilesAreNoFreshStore: a store whose manifest or marker is gone is not
// begun anew over its data.
func TestMissingFilesAreNoFreshStore(t *testing.T) {
	t.Parallel()
	for _, gone := range []string{"marker.manifest", "MANIFEST", ".sst", "all but logs"} {
		fs := vfs.NewMem()
		d := openDisk(t, fs)
		apply(t, d, func(b *Batch) { b.Put("a", []byte("1")) })
		sync1(t, d)
		if err := d.db.Flush(); err != nil {
			t.Fatal(err)
		}
		d.Close()
		files, err := fs.List("store")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.Contains(name, gone) || gone == "all but logs" && !strings.HasSuffix(name, ".log") {
				if err := fs.Remove(fs.PathJoin("store", name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, readOnly := range []bool{true, false} {
			if _, err := OpenDisk("store", DiskOptions{FS: fs, ReadOnly: readOnly}); !Damaged(err) {
				t.Errorf("without %s (read only: %v): %v", gone, readOnly, err)
			}
		}
	}
}

// TestAStoreThatWasBegunIsNoFreshOne: where there was one, an empty directory, none,
// and one without a format are damage.
func TestAStoreThatWasBegunIsNoFreshOne(t *testing.T) {
	t.Parallel()
	unformatted := vfs.NewMem()
	db, err := pebble.Open("store", &pebble.Options{FS: unformatted, Logger: diskLog{tree: &tree{}}})
	if err == nil {
		err = db.Close()
	}
	empty := vfs.NewMem()
	if err := errors.Join(err, empty.MkdirAll("store", 0o700)); err != nil {
		t.Fatal(err)
	}
	for name, fs := range map[string]vfs.FS{"no directory": vfs.NewMem(), "empty": empty, "without a format": unformatted} {
		if _, err := OpenDisk("store", DiskOptions{FS: fs, Begun: true}); !Damaged(err) {
			t.Errorf("%s: %v", name, err)
		}
		d, err := OpenDisk("store", DiskOptions{FS: fs})
		if err != nil {
			t.Fatalf("%s, where none was begun: %v", name, err)
		}
		d.Close()
		if d, err = OpenDisk("store", DiskOptions{FS: fs, Begun: true}); err != nil {
			t.Fatalf("%s, after it was made: %v", name, err)
		}
		d.Close()
	}
}

// TestSpaceIsGivenBack: the store's size follows what lives, not what was.
func TestSpaceIsGivenBack(t *testing.T) {
	t.Parallel()
	d := openDisk(t, vfs.NewMem())
	for range 600 {
		id := d.AddBlock(make([]byte, 1<<20))
		apply(t, d, func(b *Batch) { b.Put("k", []byte("v")); b.Free(id) })
	}
	if got := d.DiskBytes(); got > 200<<20 {
		t.Errorf("%d MB of disk for a store of one entry", got>>20)
	}
}

// TestDamagedTablesAreTold wherever a bit of them is wrong: to the one who reads,
// or to the one who opens, and the store can be closed after it.
func TestDamagedTablesAreTold(t *testing.T) {
	t.Parallel()
	whole := vfs.NewCrashableMem()
	d := openDisk(t, whole)
	r := rand.New(rand.NewPCG(1, 2))
	apply(t, d, func(b *Batch) {
		for i := range 500 {
			b.Note(fmt.Sprintf("note %03d", i), fmt.Appendf(nil, "%0*d", 100, r.Int64()))
		}
	})
	for range 20 {
		d.AddBlock(fmt.Appendf(nil, "%0*d", 1000, r.Int64()))
	}
	sync1(t, d)
	if err := d.db.Flush(); err != nil {
		t.Fatal(err)
	}
	d.Close()
	files, err := whole.List("store")
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, name := range files {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		for range 100 {
			damaged := crash(whole, r, 100)
			flip(t, damaged, damaged.PathJoin("store", name), r)
			for _, readOnly := range []bool{true, false} {
				fs := crash(damaged, r, 100) // of its own: what failed is closed in the background
				d, err := OpenDisk("store", DiskOptions{FS: fs, ReadOnly: readOnly, Begun: true})
				if err == nil {
					err = d.Notes("", "", func(string, []byte) error { return nil })
					d.Close()
				}
				if err != nil {
					told++
				}
				if err != nil && !Damaged(err) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	if told < 100 {
		t.Errorf("damage was told %d times", told)
	}
}

// TestAStoreThatFailedInTheMidstOfAReadIsClosed: the server goes on.
func TestAStoreThatFailedInTheMidstOfAReadIsClosed(t *testing.T) {
	t.Parallel()
	d := openDisk(t, vfs.NewMem())
	d.AddBlock([]byte("block"))
	sync1(t, d)
	if err := d.db.Flush(); err != nil {
		t.Fatal(err)
	}
	it, err := d.db.NewIter(nil)
	if err != nil || !it.First() {
		t.Fatal(err)
	}
	_ = d.fail(errors.New("the disk is gone"))
	d.end()
	if !d.ended() {
		t.Error("it is not closed")
	}
}

// flip changes a bit of a file.
func flip(t *testing.T, fs vfs.FS, path string, r *rand.Rand) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	at, b := r.Int64N(info.Size()), make([]byte, 1)
	_, err = f.ReadAt(b, at)
	b[0] ^= 1 << r.IntN(8)
	_, err2 := f.WriteAt(b, at)
	if err := errors.Join(err, err2, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
