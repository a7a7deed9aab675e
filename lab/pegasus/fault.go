package pegasus

import "github.com/pegbook/pegbook/lab/pegasus/internal/config"

// CheckFaults tells whether text, as it stands in a control file, can be
// understood.
func CheckFaults(text string) error {
	_, err := config.ParseFaults(text)
	return err
}

// FaultNames are the settings of a control file.
func FaultNames() []string { return config.FaultNames() }
