package fnapi

import "context"

func (s *Server) newProcess(payload []byte) (launcher, error) { return nil, malformed(urnProcess, nil) }
func (s *Server) newDocker(ctx context.Context, env *Environment) (launcher, error) {
	return nil, malformed(urnDocker, nil)
}

type dockerEngine struct{}
