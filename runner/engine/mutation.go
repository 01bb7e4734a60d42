package engine

// mutation switches one check off, so that tests can prove that they would
// notice. Only tests set it.
type mutation uint8

const intact mutation = 0
