// Package report turns results of the bench into one HTML page: a table with ratios,
// bars, latency curves and time series, as inline SVG. The page loads nothing from
// anywhere and runs no script, so it can be kept beside the results and opened in years.
package report
