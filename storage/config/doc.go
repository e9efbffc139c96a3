// Package config is the configuration as a document: it reads defaults, one file, the
// environment and flags, merges them, decodes the result strictly into the Config
// structs that Sluice's packages declare, watches the file, and carries out the
// gateway's config.get, config.set, config.patch and config.apply.
//
// # Precedence
//
//	defaults < file < environment < flags
//
// Objects merge key by key; lists and scalars of a later source replace those of an
// earlier one.
//
// # Sections
//
// A package below cmd declares a plain Config struct (json tags in camelCase), Default()
// and Validate(). cmd/sluice lists them as Sections; NewSchema reads by reflection what
// there is to know: key, type, default, and the tags
//
//	doc:"…"               what it does, one sentence (or Section.Docs)
//	unit:"ms"             unit of a number: ms, bytes, count, …
//	min:"1" max:"64"      bounds, inclusive: of a number, or of the length of a string,
//	                      list or map
//	enum:"a,b"            the allowed strings
//	secret:"true"         redacted wherever it is shown ("false" overrides the guess
//	                      that is made from names such as token or apiKey)
//	reload:"hot|restart"  whether a running gateway obeys a change; restart unless said
//
// A zero Config struct is never an answer: what the file does not say is the default.
//
// # Environment
//
// A key becomes a variable by upper-casing it, with "_" for "." and before each inner
// capital: gateway.auth.token is SLUICE_GATEWAY_AUTH_TOKEN, gateway.ws.maxPayloadBytes
// is SLUICE_GATEWAY_WS_MAX_PAYLOAD_BYTES. Lists are comma separated ("a,b"; quote an
// entry that has a comma or outer blanks: "\"git \",ls"), maps of scalars are k=v pairs,
// and anything may be written as a JSON5 value that starts with [ or {. An unknown
// SLUICE_ variable is an error that names the nearest right one, except those that
// Kubernetes sets for a Service called sluice (SLUICE_SERVICE_HOST, SLUICE_PORT_…).
//
// # Lifecycle
//
// Open loads and validates (an error stops the start) and returns a Manager whose
// Current is an atomic pointer to an immutable Snapshot. Watch runs until its context
// ends. A bad file never replaces a good snapshot: it is logged and shown in Status.
package config
