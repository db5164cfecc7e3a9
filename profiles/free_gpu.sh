# Sourced by a job: take a GPU that no other job of this machine has, and wait until there is one.
# The lock is held by the job's processes and ends with the last of them, however they end.
# an empty CUDA_VISIBLE_DEVICES means none
gpus=${CUDA_VISIBLE_DEVICES-$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true)}
while [ -n "$gpus" ]; do
  for gpu in ${gpus//,/ }; do
    exec 9>"${TMPDIR:-/tmp}/ecg-gpu-$UID-$gpu.lock"
    if flock -n 9; then export CUDA_VISIBLE_DEVICES=$gpu; break 2; fi
  done
  sleep 2
done
