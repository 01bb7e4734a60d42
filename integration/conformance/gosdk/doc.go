// Package gosdk names the test packages of Beam's Go SDK that `make gosuites`
// builds, so that go.sum has all they need. It is a module of its own, since they
// need what the runner must not.
package gosdk

import (
	_ "github.com/apache/beam/sdks/v2/go/test/integration/primitives"
	_ "github.com/apache/beam/sdks/v2/go/test/integration/synthetic"
	_ "github.com/apache/beam/sdks/v2/go/test/integration/wordcount"
	_ "github.com/apache/beam/sdks/v2/go/test/regression"
)
