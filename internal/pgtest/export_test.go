package pgtest

// DataDir is where the server keeps its files.
func (s *Server) DataDir() string { return s.data() }
