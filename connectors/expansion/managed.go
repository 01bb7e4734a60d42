package expansion

import "fresnel/internal/beam"

// findManaged returns the transform that a Managed transform wraps, with the
// configuration that it carries as YAML.
func (s *Service) findManaged(c *Config) (*Transform, *Config, error) {
	id := c.String("transform_identifier")
	t := s.managed[id]
	if t == nil {
		return nil, nil, s.unknown(id, s.managed)
	}
	return nil, nil, &beam.Error{Code: beam.Unsupported, What: "managed transforms are not there yet"}
}
