"""``mhcs local``: SageMaker's runtime API on localhost, in front of a container.

cli               the command and its options
server            the process
lifecycle         from the start of the container to its end
command           the container's command, as a process
app, endpoint     the routes, and their answers
request           a call, whose parameters and limits are in `parameters` and `limits`
components        inference components
container         the calls of SageMaker to a container
response_stream   a streamed response, in the encoding of `event_stream`
job_queue, jobs   asynchronous invocations, with the files of `s3_folder`
errors            the errors of the API
"""
