package jobclient

import (
	"context"
	"strings"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
)

// Message is one line of what a job tells: a text, or a change of its state.
type Message struct {
	At time.Time `json:"at,omitzero"`
	// Level is debug, detailed, basic, warning or error; empty with a State.
	Level string `json:"level,omitempty"`
	Text  string `json:"text,omitempty"`
	State State  `json:"state,omitempty"`
}

// Follow calls tell with all that a job has told and tells, until the job has
// ended or tell returns an error, which it returns.
func (c *Client) Follow(ctx context.Context, id string, tell func(Message) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.api.GetMessageStream(ctx, &jobpb.JobMessagesRequest{JobId: id})
	if err != nil {
		return c.explain(err)
	}
	for {
		resp, err := stream.Recv()
		if err != nil {
			return c.ended(err)
		}
		if err := tell(message(resp)); err != nil {
			return err
		}
	}
}

func message(resp *jobpb.JobMessagesResponse) Message {
	if s := resp.GetStateResponse(); s != nil {
		return Message{At: s.GetTimestamp().AsTime(), State: State(s.GetState().String())}
	}
	m := resp.GetMessageResponse()
	at, _ := time.Parse(time.RFC3339Nano, m.GetTime()) // other servers may write it otherwise
	level := strings.ToLower(strings.TrimPrefix(m.GetImportance().String(), "JOB_MESSAGE_"))
	return Message{At: at, Level: level, Text: m.GetMessageText()}
}

// Wait returns a job's last state, once it has ended, and the last error that
// the job told.
func (c *Client) Wait(ctx context.Context, id string) (last State, why string, err error) {
	err = c.Follow(ctx, id, func(m Message) error {
		switch {
		case m.State != "":
			last = m.State
		case m.Level == "error":
			why = m.Text
		}
		return nil
	})
	return last, why, err
}
