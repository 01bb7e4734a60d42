package cdn

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
)

// unknown is the province of addresses that are in no range, or are none.
const unknown = "Unknown"

// Log makes the lines of an access log, the same for the same seed, and counts
// what the table must say of them.
type Log struct {
	random *rand.Rand
	ranges []addressRange
	lines  int
	totals Totals
}

type addressRange struct {
	first    uint32 // an IPv4 address
	size     uint32 // number of addresses
	province string
}

// malformedEvery is how often a line has something wrong with it.
const malformedEvery = 1000

// NewLog returns an empty log.
func NewLog(seed uint64) *Log {
	return &Log{random: rand.New(rand.NewPCG(seed, 0)), ranges: readRanges(), totals: Totals{}}
}

// Totals are those of the lines so far. They belong to the log.
func (l *Log) Totals() Totals { return l.totals }

// Lines is how many there are so far.
func (l *Log) Lines() int { return l.lines }

// AppendLine appends the next line to b.
func (l *Log) AppendLine(b []byte) []byte {
	l.lines++
	a := l.access()
	if l.lines%malformedEvery == 0 {
		return l.malformed(b, a)
	}
	l.totals.add(a.province, &a.size, &a.time)
	return a.append(b)
}

// access is one request that was served.
type access struct {
	id         [16]byte
	ip         [4]byte
	time, size int64
	province   string
}

func (l *Log) access() access {
	var a access
	binary.BigEndian.PutUint64(a.id[:8], l.random.Uint64())
	binary.BigEndian.PutUint64(a.id[8:], l.random.Uint64())
	r := l.ranges[l.random.IntN(len(l.ranges))]
	a.province, a.ip = r.province, ipv4(r.first+l.random.Uint32N(r.size))
	a.time, a.size = 1+l.random.Int64N(3000), 100+l.random.Int64N(1<<20)
	return a
}

func (a *access) append(b []byte) []byte {
	b = append(a.appendID(b), ',')
	b = append(netip.AddrFrom4(a.ip).AppendTo(b), ',')
	b = strconv.AppendInt(b, a.time, 10)
	b = append(b, ',')
	return strconv.AppendInt(b, a.size, 10)
}

// appendID appends a UUID.
func (a *access) appendID(b []byte) []byte {
	for i, group := range [][]byte{a.id[:4], a.id[4:6], a.id[6:8], a.id[8:10], a.id[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, group)
	}
	return b
}

func (a *access) address() string { return netip.AddrFrom4(a.ip).String() }

// malformed appends a line with something wrong or unusual about it, each kind
// in its turn, and counts what it means.
func (l *Log) malformed(b []byte, a access) []byte {
	id, ip := string(a.appendID(nil)), a.address()
	switch l.lines / malformedEvery % 12 {
	case 0: // an unclosed quote
		return fmt.Appendf(b, `"%s,%s,%d,%d`, id, ip, a.time, a.size)
	case 1: // an unclosed quote in the middle
		return fmt.Appendf(b, `%s,"%s,%d,%d`, id, ip, a.time, a.size)
	case 2: // more fields than there are
		return fmt.Appendf(b, `%s,%s,%d,%d,%d`, id, ip, a.time, a.size, a.size)
	case 3: // nothing at all
		return b
	case 4: // bytes that are no text
		return fmt.Appendf(b, "%s,\xff\xfe,%d,%d", id, a.time, a.size)
	case 5: // a field too few
		l.totals.add(a.province, nil, &a.time)
		return fmt.Appendf(b, `%s,%s,%d`, id, ip, a.time)
	case 6: // fields that are no numbers
		l.totals.add(a.province, nil, nil)
		return fmt.Appendf(b, `%s,%s,-,1_000`, id, ip)
	case 7: // a number that no BIGINT holds
		l.totals.add(a.province, nil, &a.time)
		return fmt.Appendf(b, `%s,%s,%d,99999999999999999999`, id, ip, a.time)
	case 8: // an empty field
		l.totals.add(a.province, &a.size, nil)
		return fmt.Appendf(b, `%s,%s,,%d`, id, ip, a.size)
	case 9: // an address that is none
		l.totals.add(unknown, &a.size, &a.time)
		return fmt.Appendf(b, `%s,300.1.2.3,%d,%d`, id, a.time, a.size)
	case 10: // an address of nobody
		l.totals.add(unknown, &a.size, &a.time)
		return fmt.Appendf(b, `%s,203.0.113.7,%d,%d`, id, a.time, a.size)
	default: // nothing wrong: fields in quotes, and a carriage return
		l.totals.add(a.province, &a.size, &a.time)
		return fmt.Appendf(b, "\"%s\",\"%s\",\"%d\", %d\r", id, ip, a.time, a.size)
	}
}

// readRanges reads the same table as the pipeline.
func readRanges() []addressRange {
	text, err := files.ReadFile("provinces.csv")
	if err != nil {
		panic(err) // it is part of the program
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		panic(err)
	}
	var ranges []addressRange
	for _, row := range rows[1:] {
		first, last := number(netip.MustParseAddr(row[0])), number(netip.MustParseAddr(row[1]))
		ranges = append(ranges, addressRange{first: first, size: last - first + 1, province: row[2]})
	}
	return ranges
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func ipv4(n uint32) [4]byte { return [4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }
