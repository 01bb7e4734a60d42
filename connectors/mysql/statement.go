package mysql

import "strings"

// A statement is what a sink runs for each row. The server knows best what it
// means and how many placeholders it has, so it is prepared there; the parser
// here serves one optimisation only: many rows in one INSERT. It says yes only
// to the one form that it fully understands,
//
//	INSERT|REPLACE [LOW_PRIORITY|HIGH_PRIORITY] [IGNORE] [INTO] table [(columns)]
//	VALUES (tuple of ? and constants) [ON DUPLICATE KEY UPDATE ...without ?]
//
// where rows one after another do the same as one statement with all of them.
// Everything else runs row by row.
type multiRow struct {
	head, tuple, tail string
	// perRow is the number of placeholders of the tuple.
	perRow int
	// table is the table's name, after its schema's if that is named.
	table []string
}

// parseMultiRow returns the parts of a statement that can take many rows.
func parseMultiRow(sql string) (multiRow, bool) {
	tokens, ok := scanSQL(sql)
	if !ok {
		return multiRow{}, false
	}
	p := &parser{sql: sql, tokens: tokens}
	return p.insert()
}

// text returns the statement for n rows.
func (m *multiRow) text(n int) string {
	var b strings.Builder
	b.Grow(len(m.head) + n*(len(m.tuple)+1) + len(m.tail))
	b.WriteString(m.head)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(m.tuple)
	}
	b.WriteString(m.tail)
	return b.String()
}

type parser struct {
	sql    string
	tokens []token
	at     int
}

func (p *parser) peek() token {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return token{kind: endToken, start: len(p.sql), end: len(p.sql)}
}

// word takes one of the keywords, if it is next.
func (p *parser) word(words ...string) bool {
	t := p.peek()
	for _, w := range words {
		if t.kind == wordToken && strings.EqualFold(p.sql[t.start:t.end], w) {
			p.at++
			return true
		}
	}
	return false
}

func (p *parser) symbol(c byte) bool {
	if t := p.peek(); t.kind == symbolToken && p.sql[t.start] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) insert() (multiRow, bool) {
	none := multiRow{}
	if !p.word("INSERT", "REPLACE") {
		return none, false
	}
	p.word("LOW_PRIORITY", "HIGH_PRIORITY")
	p.word("IGNORE")
	p.word("INTO")
	before := p.at
	if !p.table() {
		return none, false
	}
	table := p.names(p.tokens[before:p.at])
	if !p.columns() || !p.word("VALUES", "VALUE") {
		return none, false
	}
	start := p.peek().start
	n, ok := p.tuple()
	if !ok || n == 0 {
		return none, false
	}
	end := p.tokens[p.at-1].end
	tail, ok := p.update()
	if !ok {
		return none, false
	}
	return multiRow{head: p.sql[:start], tuple: p.sql[start:end], tail: tail, perRow: n, table: table}, true
}

// table takes name or name.name.
func (p *parser) table() bool {
	if !p.name() {
		return false
	}
	return !p.symbol('.') || p.name()
}

// names returns the names among tokens, without their quotes.
func (p *parser) names(tokens []token) (names []string) {
	for _, t := range tokens {
		switch text := p.sql[t.start:t.end]; t.kind {
		case wordToken:
			names = append(names, text)
		case quotedToken:
			names = append(names, strings.ReplaceAll(text[1:len(text)-1], "``", "`"))
		}
	}
	return names
}

// reserved words cannot be names here: they begin forms that are not ours.
var reserved = []string{"VALUES", "VALUE", "SELECT", "SET", "PARTITION", "WITH", "TABLE", "DELAYED", "INTO", "ON", "AS"}

func (p *parser) name() bool {
	t := p.peek()
	switch t.kind {
	case quotedToken:
		if p.sql[t.start] != '`' {
			return false
		}
	case wordToken:
		for _, r := range reserved {
			if strings.EqualFold(p.sql[t.start:t.end], r) {
				return false
			}
		}
	default:
		return false
	}
	p.at++
	return true
}

// columns takes an optional list of names.
func (p *parser) columns() bool {
	if !p.symbol('(') {
		return true
	}
	for {
		if !p.name() {
			return false
		}
		if p.symbol(')') {
			return true
		}
		if !p.symbol(',') {
			return false
		}
	}
}

// tuple takes (value, value, ...) and counts the placeholders.
func (p *parser) tuple() (placeholders int, ok bool) {
	if !p.symbol('(') {
		return 0, false
	}
	for {
		switch {
		case p.symbol('?'):
			placeholders++
		case p.constant():
		default:
			return 0, false
		}
		if p.symbol(')') {
			return placeholders, true
		}
		if !p.symbol(',') {
			return 0, false
		}
	}
}

// constant takes a literal, or a function of the statement's own time.
func (p *parser) constant() bool {
	if p.word("NULL", "DEFAULT", "TRUE", "FALSE", "CURRENT_TIMESTAMP", "CURRENT_DATE") {
		return true
	}
	if p.word("NOW", "UTC_TIMESTAMP", "CURDATE") {
		return p.symbol('(') && p.symbol(')')
	}
	if p.symbol('-') || p.symbol('+') {
		t := p.peek()
		p.at++
		return t.kind == numberToken
	}
	t := p.peek()
	if t.kind == numberToken || t.kind == quotedToken && p.sql[t.start] == '\'' {
		p.at++
		return true
	}
	return false
}

// update takes what follows the tuple: nothing, or an update clause that can
// neither see other rows of the statement nor take placeholders.
func (p *parser) update() (tail string, ok bool) {
	start := p.peek().start
	if p.word("ON") {
		if !p.word("DUPLICATE") || !p.word("KEY") || !p.word("UPDATE") || p.peek().kind == endToken {
			return "", false
		}
		for p.at < len(p.tokens) && !p.atEnd() {
			if p.symbol('?') || p.symbol('@') || p.word("SELECT", "TABLE", "RETURNING", "LAST_INSERT_ID") {
				return "", false
			}
			p.at++
		}
	}
	end := p.peek().start
	if p.symbol(';') {
		if p.at < len(p.tokens) {
			return "", false
		}
	}
	if p.at < len(p.tokens) {
		return "", false
	}
	if tail = strings.TrimRight(p.sql[start:end], " \t\r\n"); tail != "" {
		tail = " " + tail
	}
	return tail, true
}

func (p *parser) atEnd() bool {
	t := p.peek()
	return t.kind == symbolToken && p.sql[t.start] == ';'
}

// tokenKind is the lexical kind of a token.
type tokenKind uint8

const (
	endToken tokenKind = iota
	wordToken
	numberToken
	quotedToken // with its quotes
	symbolToken // one byte
)

type token struct {
	kind       tokenKind
	start, end int
}

// scanSQL splits a statement into tokens. It says no to what depends on the
// server's settings or version: a backslash or a question mark in a literal,
// a double quote (a string or a name), comments.
func scanSQL(sql string) ([]token, bool) {
	var tokens []token
	for i := 0; i < len(sql); {
		start, c := i, sql[i]
		kind := symbolToken
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
			continue
		case c >= 0x80 || c < ' ' || c == '"' || c == '\\' || startsComment(sql[i:]):
			return nil, false
		case c == '\'' || c == '`':
			kind = quotedToken
			if i = quoted(sql, i); i < 0 {
				return nil, false
			}
		case isDigit(c):
			kind = numberToken
			for i < len(sql) && (isWord(sql[i]) || sql[i] == '.') {
				i++
			}
		case isWord(c):
			kind = wordToken
			for i < len(sql) && isWord(sql[i]) {
				i++
			}
		default:
			i++
		}
		tokens = append(tokens, token{kind, start, i})
	}
	return tokens, true
}

func startsComment(s string) bool {
	return s[0] == '#' || strings.HasPrefix(s, "--") || strings.HasPrefix(s, "/*")
}

// quoted returns the end of a quoted token, -1 if there is none or its content
// is not plain. A doubled quote stands for one.
func quoted(sql string, i int) int {
	quote := sql[i]
	for i++; i < len(sql); i++ {
		switch {
		case sql[i] == '\\' || sql[i] == '?':
			return -1
		case sql[i] != quote:
		case i+1 < len(sql) && sql[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return -1
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWord(c byte) bool {
	return c == '_' || c == '$' || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
