package expansion

import (
	"go.yaml.in/yaml/v3"

	"fresnel/internal/beam"
)

// findManaged returns the transform that a Managed transform wraps, with the
// configuration that it carries as YAML.
func (s *Service) findManaged(c *Config) (*Transform, *Config, error) {
	id, text := c.String("transform_identifier"), c.String("config")
	if c.Has("config_url") {
		return nil, nil, &beam.Error{Code: beam.Unsupported, Where: "config_url", What: "Fresnel does not fetch configurations",
			Cure: "give the configuration itself"}
	}
	if err := c.Err(); err != nil {
		return nil, nil, err
	}
	t := s.managed[id]
	if t == nil {
		return nil, nil, s.unknown(id, s.managed)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		// The cause would quote the text, which may hold a password.
		return nil, nil, &beam.Error{Code: beam.InvalidPipeline, Where: "config", What: "it is not a map in YAML"}
	}
	for from, to := range t.Rename {
		if v, ok := values[from]; ok {
			delete(values, from)
			values[to] = v
		}
	}
	return t, NewConfig(values), nil
}
