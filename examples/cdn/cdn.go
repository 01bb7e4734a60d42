// Package cdn is the CDN example as Go programs need it that demonstrate, test
// or measure it: the files of the pipeline, a generator of logs that knows what
// the table must say about them, a producer, and the table.
//
//	Log ──lines──▶ Producer ──▶ Kafka ──▶ pipeline.py ──▶ MySQL
//	 └──Totals, what the table must be ◀──compare──▶ Table, what it is
package cdn

import (
	"embed"
	"os"
	"path/filepath"
)

// Topic is what pipeline.py reads unless told otherwise.
const Topic = "access_log"

//go:embed pipeline.py provinces.csv
var files embed.FS

// Schema creates the table that pipeline.py writes.
//
//go:embed schema.sql
var Schema string

// WritePipeline puts the pipeline and its data into dir and returns the path of
// the program.
func WritePipeline(dir string) (string, error) {
	for _, name := range []string{"pipeline.py", "provinces.csv"} {
		b, err := files.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o644)
		}
		if err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "pipeline.py"), nil
}
