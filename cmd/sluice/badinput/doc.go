// Package badinput tests the whole gateway, as a process with a real socket, against bad
// input: what clients must not do, what they must not get, and that nothing is lost or
// left over afterwards. It holds tests only.
//
// Each test starts `sluice serve` (built once in TestMain; SLUICE_BIN names a binary that
// is built already), spoils something, and at its end asserts that health answers, that
// goroutines, pooled buffers, frames in flight, sockets and open files are back at the
// level of the start, that the log holds no panic and no error, and that SIGTERM ends
// the process with status 0.
//
//	go test ./cmd/sluice/badinput                                    all but the next
//	go test -tags e2e -run 'TestClockJumps$' ./cmd/sluice/badinput   a build with a movable clock
//
// # Advisories
//
// The rows of ../shared/reference/advisories.md that concern the door (sockets, pairing,
// locality, sessions, HTTP, configuration), and where each is tested: here, or in the
// package that is named.
//
//	CVE-2026-22172 GHSA-rqpp   self-declared scopes              TestScopesAreNotSelfDeclared
//	CVE-2026-25253 GHSA-g8p2   token by URL, foreign pages       TestTokenInAddress, TestOrigins
//	CVE-2026-32042             unpaired key, shared secret       TestUnpairedDevice
//	CVE-2026-35663             scopes on reconnect               TestReconnectKeepsGrant
//	CVE-2026-62220 GHSA-5p6w   guessing past the limiter         TestLockout, TestLockoutOverHTTP, TestFailureDelays
//	GHSA-xmxx CVE-2026-41916   old secret after a rotation       TestSecretRotation, TestTokensEnd
//	CVE-2026-41299             provenance by params              TestProvenance
//	GHSA-4jpw CVE-2026-42422   rotate mints more                 TestNoMoreThanGranted; storage/auth TestRotateIsBoundedByCallerAndGrant
//	CVE-2026-35639             approver without the scope        TestNoMoreThanGranted; storage/auth TestApproverHoldsEveryScope
//	CVE-2026-53862             setup code used twice             TestCredentials (none is issued); storage/auth TestBootstrapIsUsedOnceAndFrozen
//	CVE-2026-53852, 53843      revoked and back                  TestTokensEnd; storage/auth TestRevokedStaysRevoked
//	CVE-2026-42432             commands of a node on reconnect   methods/connect TestNodes (no node method is native)
//	CVE-2026-35656, 53817      locality by headers               TestForwardedHeaders
//	CVE-2026-28466             approval forged in node.invoke    TestRemovedMethods (not native)
//	CVE-2026-41349, 45001      consent switched off by config    TestConfigNeedsAdmin (turns have no tools, so no agent calls)
//	CVE-2026-35621, 41359      chat command changes config       TestConfigNeedsAdmin
//	CVE-2026-34512, 41375      HTTP without scope                TestRoutes
//	CVE-2026-32918, 35636,
//	53844, 27004               one session named, another used   TestSessionsAreResolvedOnce
//	CVE-2026-28482, 28462      ids become paths                  TestPathTraversal (three backends), TestControlUIPaths
//	CVE-2026-32919             reset by chat command             TestConfigNeedsAdmin
//	GHSA-943q                  /tools/invoke                     TestRoutes (no such route)
//	CVE-2026-28478, 29612,
//	32049, 62210, 41343        bodies and waits without bound    TestHookBodies, TestBeforeHello, TestHalfOpen, TestUnauthenticatedSockets
//	CVE-2026-33580             guessing a hook's token           TestHookTokens
//	GHSA-xh72                  missing key fails open            TestStartRefusals, TestSignedHooks
//	CVE-2026-41402             replay under another target       TestSignedHooks; adapter/hooks TestSignatures
//	CVE-2026-53845, 53818,
//	GHSA-mhm4                  ways around the defender          TestNothingGoesAroundTheDefender; defend TestEveryMethodIsClassified
//	CVE-2026-26322 ...         SSRF of outbound hooks            adapter/webhook TestAddresses, TestTargets
package badinput
