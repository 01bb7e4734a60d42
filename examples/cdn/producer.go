package cdn

import (
	"context"
	"time"

	"github.com/segmentio/kafka-go"
)

// Producer writes lines of a log to a topic. Use it from one goroutine.
type Producer struct {
	log    *Log
	writer *kafka.Writer
	batch  []kafka.Message
}

// producerBatch is how many lines go to Kafka at a time.
const producerBatch = 5000

// NewProducer writes the lines of log to the broker.
func NewProducer(broker, topic string, log *Log) *Producer {
	return &Producer{log: log, writer: &kafka.Writer{
		Transport:    &kafka.Transport{}, // the shared one remembers for a while which topics there are not
		Addr:         kafka.TCP(broker),
		Topic:        topic,
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
		n -= batch
	}
	return nil
}

// Run writes rate lines a second, some every tick, until ctx ends, and tells
// arrivals of them.
func (p *Producer) Run(ctx context.Context, rate int, tick time.Duration, arrivals *Arrivals) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	start, before := time.Now(), p.log.Lines()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		due := before + int(float64(rate)*time.Since(start).Seconds())
		// A piece is written to its end, or nobody would know what Kafka has of it.
		if err := p.Write(context.WithoutCancel(ctx), due-p.log.Lines()); err != nil {
			return err
		}
		arrivals.Produced(p.log.Totals(), time.Now())
	}
}

// Close releases the connections.
func (p *Producer) Close() error {
	err := p.writer.Close()
	p.writer.Transport.(*kafka.Transport).CloseIdleConnections()
	return err
}
