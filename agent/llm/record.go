package llm

import "time"

// CallRecord is what one call did, for the record of the person's request. It holds neither prompt nor answer nor key.
type CallRecord struct {
	Purpose      string        `json:"purpose,omitempty"`
	Time         time.Time     `json:"time"`
	Endpoint     string        `json:"endpoint"`
	Model        string        `json:"model"`
	Usage        Usage         `json:"usage"`
	Cost         float64       `json:"cost,omitempty"`
	Latency      time.Duration `json:"latency_ns"`
	FinishReason string        `json:"finish_reason,omitempty"`
	Attempts     []Attempt     `json:"attempts,omitempty"`
	Degraded     []string      `json:"degraded,omitempty"`
	// Error is the text of the error that the call returned.
	Error string `json:"error,omitempty"`
}

// Attempt is one HTTP request of a call, or one that was refused before it was sent, because the model is known not to
// take it.
type Attempt struct {
	Time     time.Time     `json:"time"`
	Duration time.Duration `json:"duration_ns"`
	// Status is the HTTP status; 0 if there was no response.
	Status int `json:"status,omitempty"`
	// RequestID is the endpoint's name for the request, to quote to its operators.
	RequestID string `json:"request_id,omitempty"`
	// Error says how the attempt failed; empty if it brought an answer.
	Error string `json:"error,omitempty"`
	// Dropped is the feature whose refusal was the failure.
	Dropped string `json:"dropped,omitempty"`
	// Wait is how long was waited before the next attempt.
	Wait time.Duration `json:"wait_ns,omitempty"`
}
