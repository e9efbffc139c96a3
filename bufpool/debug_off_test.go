//go:build !bufdebug

package bufpool_test

const debugBuild = false
