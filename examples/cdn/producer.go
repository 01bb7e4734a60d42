package cdn

import (
	"context"
	"time"

	"github.com/segmentio/kafka-go"
)

// Producer writes lines of a log to the topic. Use it from one goroutine.
type Producer struct {
	log     *Log
	writer  *kafka.Writer
	batch   []kafka.Message
	written int
}

// producerBatch is how many lines go to Kafka at a time.
const producerBatch = 5000

// NewProducer writes the lines of log to the broker.
func NewProducer(broker string, log *Log) *Producer {
	return &Producer{log: log, writer: &kafka.Writer{
		Addr:         kafka.TCP(broker),
		Topic:        Topic,
		Balancer:     &kafka.RoundRobin{},
		BatchSize:    producerBatch,
		BatchBytes:   16 << 20,
		BatchTimeout: time.Millisecond, // a batch is whole when it is given
		RequiredAcks: kafka.RequireAll,
	}}
}

// Write writes the next n lines and returns when the broker has them.
func (p *Producer) Write(ctx context.Context, n int) error {
	for n > 0 {
		batch := min(n, producerBatch)
		p.batch = p.batch[:0]
		for range batch {
			p.batch = append(p.batch, kafka.Message{Value: p.log.AppendLine(nil)})
		}
		if err := p.writer.WriteMessages(ctx, p.batch...); err != nil {
			return err
		}
		p.written += batch
		n -= batch
	}
	return nil
}

// Run writes rate lines a second, a little every tick, until ctx ends. After
// each piece it tells how many lines of the log count in the table, and since
// when Kafka has them.
func (p *Producer) Run(ctx context.Context, rate int, tick time.Duration, wrote func(counted int64, at time.Time)) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	start, before := time.Now(), p.written
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		due := before + int(float64(rate)*time.Since(start).Seconds())
		if err := p.Write(ctx, due-p.written); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wrote(p.log.Totals().Lines(), time.Now())
	}
}

// Close releases the connections.
func (p *Producer) Close() error { return p.writer.Close() }
