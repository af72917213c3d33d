package projects

import "github.com/spf13/afero"

//protect:breaker failures=5
//protect:bulkhead 32
type Fs interface{ afero.Fs }

//protect:limit 1000/s
type File interface{ afero.File }

//protect:breaker failures=5
type Links interface{ afero.Symlinker }
