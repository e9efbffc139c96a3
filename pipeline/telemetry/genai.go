package telemetry

import "go.opentelemetry.io/otel/attribute"

// ModelCall describes one call of a language model for its span, by the OpenTelemetry
// GenAI conventions. There is no field for content on purpose.
type ModelCall struct {
	Operation     string // chat, embeddings, …
	Provider      string // openai, anthropic, …
	RequestModel  string
	ResponseModel string
	ServerAddress string // host without port
	ServerPort    int    // 0 when unknown
	InputTokens   int64  // -1 when the provider did not say
	OutputTokens  int64  // -1 when the provider did not say
	FinishReason  string // stop, length, …; empty when unknown
	ErrorType     string // timeout, 429, …; empty when it went well
}

// SpanName is "{operation} {model}".
func (m ModelCall) SpanName() string {
	if m.RequestModel == "" {
		return m.Operation
	}
	return m.Operation + " " + m.RequestModel
}

// Attributes returns what is known; unknown values are left out.
func (m ModelCall) Attributes() []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, 10)
	text := func(key, v string) {
		if v != "" {
			out = append(out, attribute.String(key, v))
		}
	}
	text("gen_ai.operation.name", m.Operation)
	text("gen_ai.provider.name", m.Provider)
	text("gen_ai.request.model", m.RequestModel)
	text("gen_ai.response.model", m.ResponseModel)
	text("server.address", m.ServerAddress)
	text("error.type", m.ErrorType)
	if m.ServerPort > 0 {
		out = append(out, attribute.Int("server.port", m.ServerPort))
	}
	if m.InputTokens >= 0 {
		out = append(out, attribute.Int64("gen_ai.usage.input_tokens", m.InputTokens))
	}
	if m.OutputTokens >= 0 {
		out = append(out, attribute.Int64("gen_ai.usage.output_tokens", m.OutputTokens))
	}
	if m.FinishReason != "" {
		out = append(out, attribute.StringSlice("gen_ai.response.finish_reasons", []string{m.FinishReason}))
	}
	return out
}
