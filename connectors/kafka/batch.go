package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/segmentio/kafka-go/compress"
)

// A fetched record set is a run of record batches, format version 2, of which
// the last may be cut off where the broker reached the asked size:
//
//	 0  base offset        int64     21  attributes         int16
//	 8  length of the rest int32     23  last offset delta  int32
//	12  leader epoch       int32     27  base timestamp     int64
//	16  magic = 2          int8      35  max timestamp      int64
//	17  CRC-32C of 21...   uint32    43  producer id        int64
//	                                 51  producer epoch     int16
//	                                 53  base sequence      int32
//	                                 57  record count       int32
//	                                 61  records, compressed as one block
//
// (https://kafka.apache.org/documentation/#messageformat). kafka-go decodes it
// too, but record by record through readers, an order of magnitude slower
// (BenchmarkDecode), and it hands out what aborted transactions wrote.
const (
	batchPrefix = 12 // base offset and length
	batchHeader = 61
	crcStart    = 21
)

// Bits of a batch's attributes.
const (
	compressionMask   = 0x07
	logAppendTime     = 0x08
	transactionalFlag = 0x10
	controlFlag       = 0x20
)

// maxBatchBytes bounds a decompressed batch: far above what a broker accepts
// by default (1 MB compressed), far below what would endanger the process.
const maxBatchBytes = 256 << 20

// castagnoli is the table of the CRC-32C that protects a batch.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is one record of a batch. Its slices point into the decoder's buffers
// and are valid until the next call of next.
type record struct {
	offset    int64
	timestamp int64 // milliseconds since the epoch; -1 where there is none
	appended  bool  // the timestamp is the broker's (LogAppendTime)
	key       []byte
	value     []byte // nil: a null, a tombstone
	headers   []byte // undecoded
	nHeaders  int
}

// aborted is a transaction that the broker reports as aborted.
type aborted struct {
	producer    int64
	firstOffset int64
}

// batchDecoder walks over the records of a fetched record set. It skips
// records before the asked offset, control batches, and, where the list of
// aborted transactions is given, what those wrote.
type batchDecoder struct {
	set     []byte // what is left of the record set
	records []byte // what is left of the current batch, decompressed
	left    int    // records that are left in it
	// offset is where a next fetch goes on: after the last record or batch
	// that was passed.
	offset  int64
	batch   header
	aborted []aborted      // those still ahead, by first offset
	open    map[int64]bool // producers within an aborted transaction
	buffer  []byte         // for decompression, used again
}

// header is what the decoder keeps of the current batch.
type header struct {
	base, last    int64 // offsets
	baseTime      int64
	maxTime       int64
	producer      int64
	attributes    uint16
	appendedStamp bool
}

// reset starts on a fetched record set from the asked offset on.
func (d *batchDecoder) reset(set []byte, offset int64, gone []aborted) {
	buffer := d.buffer
	*d = batchDecoder{set: set, offset: offset, buffer: buffer}
	if len(gone) > 0 {
		d.aborted = slices.Clone(gone)
		slices.SortFunc(d.aborted, func(a, b aborted) int { return int(min(max(a.firstOffset-b.firstOffset, -1), 1)) })
		d.open = make(map[int64]bool, len(gone))
	}
}

// rest is the number of bytes not yet passed, for sizing and for backlogs.
func (d *batchDecoder) rest() int { return len(d.set) + len(d.records) }

// pending is the number of records that the set holds, an upper bound where
// batches are cut off, for sizing.
func (d *batchDecoder) pending() int {
	n := d.left
	for b := d.set; len(b) >= batchHeader; {
		n += int(max(int32(binary.BigEndian.Uint32(b[57:])), 0))
		length := int64(int32(binary.BigEndian.Uint32(b[8:])))
		if length < batchHeader-batchPrefix || length > int64(len(b)-batchPrefix) {
			break
		}
		b = b[batchPrefix+length:]
	}
	return min(n, d.rest())
}

// nextOffset returns where the fetch goes on that follows the record set: the
// headers are enough for it.
func nextOffset(set []byte, asked int64) (int64, error) {
	next := asked
	for len(set) >= batchHeader {
		length := int64(int32(binary.BigEndian.Uint32(set[8:])))
		if length < batchHeader-batchPrefix {
			return 0, errMalformed
		}
		if length > int64(len(set)-batchPrefix) {
			break
		}
		next = max(next, parseHeader(set).last+1)
		set = set[batchPrefix+length:]
	}
	return next, nil
}

// next decodes the next record; false at the end of the set.
func (d *batchDecoder) next(r *record) (bool, error) {
	for {
		if d.left == 0 {
			if more, err := d.nextBatch(); !more || err != nil {
				return false, err
			}
			continue
		}
		if err := d.nextRecord(r); err != nil {
			return false, err
		}
		if r.offset < d.offset {
			continue // before the asked offset: a fetch returns whole batches
		}
		d.offset = r.offset + 1
		if d.left == 0 {
			d.offset = max(d.offset, d.batch.last+1)
		}
		return true, nil
	}
}

// nextBatch opens the next batch that has records for us; false at the end.
func (d *batchDecoder) nextBatch() (bool, error) {
	for len(d.set) >= batchPrefix {
		length := int64(int32(binary.BigEndian.Uint32(d.set[8:])))
		if length < 0 {
			return false, errMalformed
		}
		if length > int64(len(d.set)-batchPrefix) {
			break // cut off by the fetch's size
		}
		raw := d.set[:batchPrefix+length]
		d.set = d.set[batchPrefix+length:]
		if more, err := d.openBatch(raw); more || err != nil {
			return more, err
		}
	}
	d.set = nil
	return false, nil
}

// openBatch reads a whole batch's header; false when the batch has nothing for
// us, so that it is passed as a whole.
func (d *batchDecoder) openBatch(raw []byte) (bool, error) {
	if len(raw) <= 16 || raw[16] < 2 {
		return false, errOldFormat
	}
	if len(raw) < batchHeader || raw[16] != 2 {
		return false, errMalformed
	}
	if crc32.Checksum(raw[crcStart:], castagnoli) != binary.BigEndian.Uint32(raw[17:]) {
		return false, errChecksum
	}
	d.batch = parseHeader(raw)
	if d.batch.last < d.batch.base {
		return false, errMalformed
	}
	if d.batch.last < d.offset {
		return false, nil
	}
	count := int64(int32(binary.BigEndian.Uint32(raw[57:])))
	if d.skipped() {
		if err := d.control(raw[batchHeader:]); err != nil {
			return false, err
		}
		count = 0
	}
	if count <= 0 {
		d.offset = max(d.offset, d.batch.last+1)
		return false, nil
	}
	var err error
	d.records, err = d.decompress(raw[batchHeader:])
	if err != nil {
		return false, err
	}
	if count > int64(len(d.records)) {
		return false, errMalformed
	}
	d.left = int(count)
	return true, nil
}

func parseHeader(raw []byte) header {
	base := int64(binary.BigEndian.Uint64(raw))
	attributes := binary.BigEndian.Uint16(raw[21:])
	return header{
		base:          base,
		last:          base + int64(int32(binary.BigEndian.Uint32(raw[23:]))),
		baseTime:      int64(binary.BigEndian.Uint64(raw[27:])),
		maxTime:       int64(binary.BigEndian.Uint64(raw[35:])),
		producer:      int64(binary.BigEndian.Uint64(raw[43:])),
		attributes:    attributes,
		appendedStamp: attributes&logAppendTime != 0,
	}
}

// skipped tells whether the batch holds no records for users: markers, or what
// an aborted transaction wrote.
func (d *batchDecoder) skipped() bool {
	for len(d.aborted) > 0 && d.aborted[0].firstOffset <= d.batch.last {
		d.open[d.aborted[0].producer] = true
		d.aborted = d.aborted[1:]
	}
	if d.batch.attributes&controlFlag != 0 {
		return true
	}
	return d.batch.attributes&transactionalFlag != 0 && d.open[d.batch.producer]
}

// control ends a producer's aborted transaction at its abort marker: a record
// whose key is (version int16, type int16), type 0.
func (d *batchDecoder) control(records []byte) error {
	if d.batch.attributes&controlFlag == 0 || !d.open[d.batch.producer] {
		return nil
	}
	var marker record
	d.records, d.left = records, 1
	err := d.nextRecord(&marker)
	d.records, d.left = nil, 0
	if err != nil || len(marker.key) < 4 {
		return errMalformed
	}
	if binary.BigEndian.Uint16(marker.key[2:]) == 0 {
		delete(d.open, d.batch.producer)
	}
	return nil
}

// nextRecord decodes the next record of the batch.
func (d *batchDecoder) nextRecord(r *record) error {
	size, b, ok := varint(d.records)
	if !ok || size < 1 || size > int64(len(b)) {
		return errMalformed
	}
	d.records, d.left = b[size:], d.left-1
	b = b[1:size] // the record's own attributes are unused
	timeDelta, b, ok := varint(b)
	if !ok {
		return errMalformed
	}
	offsetDelta, b, ok := varint(b)
	if !ok {
		return errMalformed
	}
	if r.key, b, ok = field(b); !ok {
		return errMalformed
	}
	if r.value, b, ok = field(b); !ok {
		return errMalformed
	}
	n, b, ok := varint(b)
	if !ok || n < 0 || n > int64(len(b)) {
		return errMalformed
	}
	r.headers, r.nHeaders = b, int(n)
	r.offset = d.batch.base + offsetDelta
	if r.timestamp = d.batch.baseTime + timeDelta; d.batch.appendedStamp {
		r.timestamp = d.batch.maxTime
	}
	r.appended = d.batch.appendedStamp
	return nil
}

// eachHeader calls f for every header of the record.
func (r *record) eachHeader(f func(key, value []byte)) error {
	b := r.headers
	for range r.nHeaders {
		key, rest, ok := field(b)
		if !ok {
			return errMalformed
		}
		value, rest, ok := field(rest)
		if !ok {
			return errMalformed
		}
		f(key, value)
		b = rest
	}
	return nil
}

// decompress returns the records of a batch as they are encoded.
func (d *batchDecoder) decompress(b []byte) ([]byte, error) {
	kind := compress.Compression(d.batch.attributes & compressionMask)
	if kind == compress.None {
		return b, nil
	}
	codec := kind.Codec()
	if codec == nil {
		return nil, fmt.Errorf("%w: unknown compression %d", errMalformed, kind)
	}
	if kind == compress.Snappy && !plausibleSnappy(b) {
		return nil, fmt.Errorf("%w: impossible snappy block", errMalformed)
	}
	out, err := readAll(codec, b, d.buffer[:0])
	d.buffer = out
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errMalformed, codec.Name(), err)
	}
	return out, nil
}

// readAll decompresses b into dst, at most maxBatchBytes.
func readAll(codec compress.Codec, b, dst []byte) ([]byte, error) {
	r := codec.NewReader(bytes.NewReader(b))
	defer r.Close()
	dst = slices.Grow(dst, 4*len(b))
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, len(dst))
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, err
		case len(dst) > maxBatchBytes:
			return dst, fmt.Errorf("more than %d bytes", maxBatchBytes)
		}
	}
}

// xerialMagic starts snappy data in the framing of Java's library: the magic,
// two int32 of versions, then blocks with an int32 of their length each.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

// plausibleSnappy checks the decoded lengths that the blocks claim, since the
// library allocates them before it decodes: snappy cannot shrink 64 bytes to
// less than 2.
func plausibleSnappy(b []byte) bool {
	if !bytes.HasPrefix(b, xerialMagic) {
		return plausibleBlock(b)
	}
	if len(b) < 16 {
		return false
	}
	for b = b[16:]; len(b) > 0; {
		if len(b) < 4 {
			return false
		}
		n := int64(binary.BigEndian.Uint32(b))
		if n > int64(len(b)-4) || !plausibleBlock(b[4:4+n]) {
			return false
		}
		b = b[4+n:]
	}
	return true
}

func plausibleBlock(b []byte) bool {
	n, size := binary.Uvarint(b)
	return size > 0 && n <= 64*uint64(len(b)) && n <= maxBatchBytes
}
